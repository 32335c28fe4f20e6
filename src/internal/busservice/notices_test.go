// SPDX-License-Identifier: Apache-2.0

package busservice_test

import (
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
)

func TestNoticesAreOnTheBusAsDescribed(t *testing.T) {
	s := serve(t)
	p := s.connect(t)
	now := logstore.SystemClock{}.Now()
	write := func(encoded []byte) logstore.Cursor {
		var g event.Group
		if _, err := event.Decode(encoded, &g); err != nil {
			t.Fatal(err)
		}
		return s.log.Write(g)
	}
	until := now.Offset + int64(now.Boot)
	since := until - int64(3*time.Second)
	write(event.AppendRecording(nil, &event.Recording{
		State: event.Started, Version: "1", Time: now.Boot, Since: since, Reason: event.AgentKilled,
	}))
	write(event.AppendRemoval(nil, &event.Removal{
		First: 1, Last: 9, Segments: 2, Bytes: 3, User: "alice", UID: 1000, Policy: "vacuum", Time: now.Boot,
	}))
	last := s.log.Lose("ring-full", 4)
	s.log.Flush()
	p.subscribe("", all("executables", []string{"none"}), all("after", "oldest"))
	got := p.until(last.Sequence)
	if len(got) != 3 {
		t.Fatalf("%d groups pass a filter that matches only notices: %+v", len(got), got)
	}
	micros := func(v dbus.Variant, want int64) bool {
		us, ok := v.Value().(uint64)
		// The log's clock may be read a little later than ours.
		return ok && time.UnixMicro(int64(us)).Sub(time.Unix(0, want)).Abs() < time.Second
	}
	attributes := got[0].Attributes
	if !micros(attributes["unrecorded-since"], since) || !micros(attributes["unrecorded-until"], until) ||
		attributes["reason"].Value() != string(event.AgentKilled) || attributes["lost"].Value() != nil {
		t.Errorf("attributes %v", attributes)
	}
	var data []string
	for _, d := range got[0].Data {
		data = append(data, d.Key)
	}
	if len(data) != 5 || data[0] != event.KeyRecording {
		t.Errorf("keys %q", data)
	}

	var status dict
	var unrecorded []struct {
		From, To        uint64
		Reason, Library string
	}
	var removed dict
	for deadline := time.Now().Add(time.Minute); removed == nil; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the status has no removal: %v", status)
		}
		if err := p.call("GetStatus").Store(&status); err != nil {
			t.Fatal(err)
		}
		removed, _ = status["removed"].Value().(map[string]dbus.Variant)
	}
	if err := status["unrecorded"].Store(&unrecorded); err != nil {
		t.Fatal(err)
	}
	if len(unrecorded) != 1 || unrecorded[0].Reason != "agent-killed" || unrecorded[0].Library != "" ||
		!micros(dbus.MakeVariant(unrecorded[0].From), since) || status["unrecorded-count"].Value() != uint64(1) {
		t.Errorf("%+v, %v in total", unrecorded, status["unrecorded-count"])
	}
	if us := status["unrecorded-usec"].Value().(uint64); us < 2e6 || us > 4e6 {
		t.Errorf("nothing was recorded for %d µs", us)
	}
	if removed["user"].Value() != "alice" || removed["uid"].Value() != uint32(1000) || removed["last"].Value() != uint64(9) || !micros(removed["time"], until) {
		t.Errorf("removed: %v", removed)
	}
	if status["events-lost"].Value() != uint64(4) || status["lost-since"].Value().(uint64) == 0 || status["scanning"].Value() != false {
		t.Errorf("lost: %v since %v", status["events-lost"], status["lost-since"])
	}
	properties := p.conn.Object(brokerName, p.broker.Path())
	if v, err := properties.GetProperty(brokerName + ".EventsLost"); err != nil || v.Value() != uint64(4) {
		t.Errorf("EventsLost is %v, %v", v, err)
	}
}
