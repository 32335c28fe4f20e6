// SPDX-License-Identifier: Apache-2.0

package busservice

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"crypto-auditing/src/internal/broker"
	"crypto-auditing/src/internal/broker/notices"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
)

// richStatus returns a status with something in every field.
func richStatus() broker.Status {
	at := func(us int64) time.Time { return time.UnixMicro(1_800_000_000_000_000 + us) }
	cursor := func(n uint64) logstore.Cursor { return logstore.Cursor{Store: [16]byte{1, 2}, Sequence: n} }
	return broker.Status{
		Started: at(1), Oldest: cursor(3), Newest: cursor(20), Disk: broker.Disk{Segments: 2, Bytes: 4096, Free: 1 << 40},
		Notices: notices.Summary{
			Since: at(2), Lost: map[string]uint64{"ring-full": 7, "disk-full": 1},
			Unrecorded: []event.Unrecorded{
				{From: at(3).UnixNano(), To: at(4).UnixNano(), Reason: "agent-killed"},
				{From: 0, To: at(5).UnixNano(), Reason: "library-replaced", Library: "libssl.so.3\x00<&>"},
			},
			UnrecordedCount: 40, UnrecordedTotal: 1234567 * time.Microsecond,
			Removed:   &event.Removal{User: "al\x00ice", UID: 1000, Policy: "max-age=30d", First: 1, Last: 9, Segments: 2, Bytes: 100},
			RemovedAt: at(6), Scanning: true,
		},
		Subscriptions: 5, Attached: 4, Streams: 3, StoreError: errors.New("cannot read <it>"),
		AgentState: broker.AgentRunning, AgentSince: at(7), AgentActive: true, AgentError: errors.New("odd"),
		Agent: &broker.AgentStatus{
			Version: "7", Started: at(8), Profile: "uprobe_multi", Directory: "/log", Full: "no space",
			HitsSeen: 108, Hits: 100, Events: 200, Groups: 50, Chunks: 5,
			Lost:     []broker.AgentLoss{{Place: "kernel", Reason: "ring-full", Hits: 7, Events: 8}},
			RingSize: 8 << 20, RingHighWater: 1024, CPU: 1500 * time.Millisecond, Resident: 20 << 20,
			Libraries: []broker.AgentLibrary{
				{
					Path: "/lib/x", BuildID: "abcd", Provider: "crypto_auditing", Probes: []string{"new_context", "data"},
					Sites: 10, Hits: 100, Attached: "uprobe_multi", Since: at(9),
				},
				{Path: "/lib/y", Error: "no such file", Replaced: true},
			},
			Problem: "cannot count",
		},
	}
}

// golden compares a text with a file, which UPDATE_GOLDEN=1 rewrites.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if os.Getenv("UPDATE_GOLDEN") == "1" {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil || got != string(want) {
		t.Errorf("differs from %s (UPDATE_GOLDEN=1 rewrites it, %v); got:\n%s", file, err, got)
	}
}

func TestTheStatusOnTheBusKeepsItsKeysAndTypes(t *testing.T) {
	// The text of a variant has the types, and the keys in order.
	golden(t, "status", dbus.MakeVariant(statusOf("1.2", richStatus())).String()+"\n"+
		dbus.MakeVariant(statusOf("", broker.Status{Started: time.UnixMicro(1), Agent: &broker.AgentStatus{}})).String()+"\n")
}
