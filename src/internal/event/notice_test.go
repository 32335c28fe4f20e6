// SPDX-License-Identifier: Apache-2.0

package event_test

import (
	"reflect"
	"testing"

	"crypto-auditing/src/internal/event"
)

// decoded decodes a notice.
func decoded(t *testing.T, b []byte) *event.Group {
	t.Helper()
	var g event.Group
	if n, err := event.Decode(b, &g); err != nil || n != len(b) {
		t.Fatalf("Decode = %d, %v", n, err)
	}
	if !g.IsNotice() {
		t.Error("the group is not a notice")
	}
	return &g
}

func TestNoticesReturnWhatWasAppended(t *testing.T) {
	const boot = 1_000_000
	t.Run("start", func(t *testing.T) {
		want := event.Recording{
			State: event.Started, Version: "0.2.0", BootID: [16]byte{1, 15: 2}, Time: 7,
			Since: 400_000, Reason: event.AgentKilled,
		}
		g := decoded(t, event.AppendRecording(nil, &want))
		if got, ok := g.Recording(); !ok || got != want {
			t.Errorf("Recording = %+v, %v", got, ok)
		}
		unrecorded := event.Unrecorded{From: 400_000, To: boot + 7, Reason: event.AgentKilled}
		if got, ok := g.Unrecorded(boot); !ok || !reflect.DeepEqual(got, unrecorded) {
			t.Errorf("Unrecorded = %+v, %v", got, ok)
		}
	})
	t.Run("first start", func(t *testing.T) {
		g := decoded(t, event.AppendRecording(nil, &event.Recording{State: event.Started, Version: "0.2.0", Time: 7}))
		if got, ok := g.Unrecorded(boot); ok {
			t.Errorf("Unrecorded = %+v", got)
		}
	})
	t.Run("stop", func(t *testing.T) {
		want := event.Recording{State: event.Stopped, Version: "0.2.0", Time: 7, StopReason: "requested"}
		g := decoded(t, event.AppendRecording(nil, &want))
		if got, ok := g.Recording(); !ok || got != want {
			t.Errorf("Recording = %+v, %v", got, ok)
		}
		if _, ok := g.Unrecorded(boot); ok {
			t.Error("a stop counts as a time without recording")
		}
	})
	t.Run("library", func(t *testing.T) {
		g := decoded(t, event.AppendLibraryUnrecorded(nil, event.LibraryReplaced, "libssl.so.3", []byte{1, 2}, 10, 20))
		want := event.Unrecorded{From: boot + 10, To: boot + 20, Reason: event.LibraryReplaced, Library: "libssl.so.3", BuildID: []byte{1, 2}}
		if got, ok := g.Unrecorded(boot); !ok || !reflect.DeepEqual(got, want) {
			t.Errorf("Unrecorded = %+v, %v", got, ok)
		}
		if _, ok := g.Recording(); ok {
			t.Error("the notice of an unrecorded library counts as a start of the agent")
		}
	})
	t.Run("removal", func(t *testing.T) {
		want := event.Removal{First: 1, Last: 516, Segments: 3, Bytes: 4096, User: "root", Policy: "max_age=30d", Time: 9}
		g := decoded(t, event.AppendRemoval(nil, &want))
		if got, ok := g.Removal(); !ok || got != want {
			t.Errorf("Removal = %+v, %v", got, ok)
		}
	})
	t.Run("missing", func(t *testing.T) {
		want := event.Missing{Entries: 4, Reason: "unreadable"}
		if got, ok := decoded(t, event.AppendMissing(nil, &want)).Missing(); !ok || got != want {
			t.Errorf("Missing = %+v, %v", got, ok)
		}
	})
	t.Run("end", func(t *testing.T) {
		want := event.End{Outcome: event.Failed, Reason: "permission denied"}
		if got, ok := decoded(t, event.AppendEnd(nil, &want)).StreamEnd(); !ok || got != want {
			t.Errorf("StreamEnd = %+v, %v", got, ok)
		}
	})
	t.Run("loss", func(t *testing.T) {
		decoded(t, event.AppendLoss(nil, &event.Loss{Events: 1, Reason: "ring-full"}))
	})
}

func TestOtherGroupsAreNotNotices(t *testing.T) {
	for name, b := range map[string][]byte{
		"beginning of a segment": event.AppendMetadata(nil, 1, 2),
		"a program's data":       event.Append(nil, sample()),
		"a program's own crau key": event.Append(nil, &event.Group{Context: event.ContextID{1}, Events: []event.Event{
			{Key: []byte(event.KeyRecording), Value: event.Value{Kind: event.String, Bytes: []byte("started")}},
		}}),
	} {
		t.Run(name, func(t *testing.T) {
			var g event.Group
			if _, err := event.Decode(b, &g); err != nil {
				t.Fatal(err)
			}
			if g.IsNotice() {
				t.Error("the group is a notice")
			}
			if _, ok := g.Recording(); ok {
				t.Error("the group reports a start")
			}
		})
	}
}
