// SPDX-License-Identifier: Apache-2.0

package status_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	interfaces "crypto-auditing/dbus"
	"crypto-auditing/src/internal/goldentest"
	"crypto-auditing/src/internal/status"
	api "crypto-auditing/src/internal/varlinkservice/orgcryptoauditingbroker"
)

// rich returns a status with a value in every field.
func rich() status.Broker {
	at := func(us int64) time.Time { return time.UnixMicro(1_800_000_000_000_000 + us) }
	const store = "01020000000000000000000000000000-"
	return status.Broker{
		Version: "1.2", Started: at(1), Oldest: store + "0000000000000003", Newest: store + "0000000000000014",
		Segments: 2, DiskUsage: 4096, DiskFree: 1 << 40,
		EventsLost: 8, Lost: status.Lost{"ring-full": 7, "disk-full": 1}, LostSince: at(2),
		Unrecorded: []status.Unrecorded{
			{From: at(3), To: at(4), Reason: "agent-killed"},
			{From: time.UnixMicro(0), To: at(5), Reason: "library-replaced", Library: `libssl.so.3\x00<&>`},
		},
		UnrecordedCount: 40, UnrecordedTotal: 1234567 * time.Microsecond,
		Removed: &status.Removal{
			Time: at(6), User: `al\x00ice`, UID: 1000, Policy: "max-age=30d", First: 1, Last: 9, Segments: 2, Bytes: 100,
		},
		Scanning: true, Subscriptions: 5, Attached: 4, Streams: 3, StoreError: "cannot read <it>",
		AgentState: "running", AgentSince: at(7), AgentActive: true, AgentError: "odd",
		Agent: &status.Agent{
			Version: "7", Started: at(8), Profile: "uprobe_multi", LogDirectory: "/log", Full: "no space",
			HitsSeen: 119, Hits: 100, HitsExcluded: 11, Events: 200, Groups: 50, Chunks: 5,
			Losses:   []status.Loss{{Place: "kernel", Reason: "ring-full", Hits: 7, Events: 8}},
			RingSize: 8 << 20, RingHighWater: 1024, CPU: 1500 * time.Millisecond, Resident: 20 << 20,
			Libraries: []status.Library{
				{
					Path: "/lib/x", BuildID: "abcd", Provider: "crypto_auditing", Probes: []string{"new_context", "data"},
					Sites: 10, Hits: 100, Attached: "uprobe_multi", Since: at(9),
				},
				{Path: "/lib/y", Error: "no such file", Replaced: true},
			},
			Sources: []status.Source{
				{Name: "usdt", FrontEnd: "uprobe_multi"},
				{Name: "wire", FrontEnd: "tracepoint", Refused: "trampoline: denied", Connections: 9, Handshakes: 5, NoHandshake: 2, Relayed: 1, Excluded: 1},
				{Name: "wire", Error: "denied"},
			},
			Coverage:   []status.Coverage{{Executable: `cu\x00rl`, Matched: 1, Socket: 2, Library: 3, Mismatched: 4, Excluded: 5}},
			Exclusions: []status.Exclusion{{Rule: "executable=cu*", Handshakes: 1, Hits: 11}},
			Problem:    "cannot count",
		},
	}
}

// nothing returns the status of a broker that has just started.
func nothing(version string) status.Broker {
	const cursor = "00000000000000000000000000000000-0000000000000000"
	return status.Broker{Version: version, Started: time.UnixMicro(1), Oldest: cursor, Newest: cursor, Agent: &status.Agent{}}
}

func TestTheStatusOnTheBusKeepsItsKeysAndTypes(t *testing.T) {
	var text strings.Builder
	for _, s := range []status.Broker{rich(), nothing("")} {
		// The text of a variant contains the types, and sorted keys.
		text.WriteString(dbus.MakeVariant(status.Dictionary(&s, dbus.MakeVariant)).String() + "\n")
	}
	goldentest.Compare(t, "bus.golden", text.String())
}

// Interface and status have the same fields.
func TestTheStatusOverVarlinkMatchesTheInterface(t *testing.T) {
	all := rich()
	delete(all.Lost, "disk-full")
	for name, s := range map[string]status.Broker{"varlink": all, "varlink-empty": nothing("1.2")} {
		text, err := status.Varlink(&s)
		if err != nil {
			t.Fatal(err)
		}
		var described api.Status
		if err := json.Unmarshal(text, &described); err != nil {
			t.Fatal(err)
		}
		remarshalled, err := json.Marshal(described)
		if err != nil {
			t.Fatal(err)
		}
		if raw, err := json.Marshal(text); err != nil || string(raw) != string(remarshalled) {
			t.Errorf("%s is described as %s (%v)", raw, remarshalled, err)
		}
		goldentest.Compare(t, name+".golden", string(remarshalled)+"\n")
	}
}

// fromBus returns a status as a client receives it.
func fromBus(t *testing.T, of any) (s status.Broker) {
	t.Helper()
	if err := status.FromBus(status.Dictionary(of, dbus.MakeVariant), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestTheWholeStatusIsReadFromTheBus(t *testing.T) {
	want := rich()
	want.Agent.Problem, want.Agent.Losses[0].Place, want.Agent.Libraries[0].Attached = "", "", "" // not on the bus
	want.Agent.Libraries[1].Probes = []string{}
	s := rich()
	if got := fromBus(t, &s); !reflect.DeepEqual(got, want) {
		t.Errorf("the status is\n%+v\n%+v, want\n%+v\n%+v", got, got.Agent, want, want.Agent)
	}
}

func TestUnknownFieldsOfAStatusAreKept(t *testing.T) {
	v := dbus.MakeVariant
	var s status.Broker
	err := status.FromBus(map[string]dbus.Variant{
		"segments": v(uint32(2)), "disk-free": v("text"), "started": v(uint64(0)), "later": v("x"),
		"agent": v(map[string]dbus.Variant{"hits": v(uint64(3)), "later": v(uint32(4))}),
	}, &s)
	if err == nil || !strings.HasPrefix(err.Error(), "disk-free: ") {
		t.Errorf("a text for a number: %v", err)
	}
	if s.Segments != 2 || !s.Started.IsZero() || s.Agent == nil || s.Agent.Hits != 3 {
		t.Errorf("the status is %+v", s)
	}
	if !reflect.DeepEqual(s.Other, map[string]any{"later": "x"}) || !reflect.DeepEqual(s.Agent.Other, map[string]any{"later": uint32(4)}) {
		t.Errorf("the unknown fields are %v and %v", s.Other, s.Agent.Other)
	}
}

func TestEveryKeyOnTheBusIsDocumented(t *testing.T) {
	for _, of := range []any{status.Broker{}, status.Agent{}, status.Library{}, status.Removal{}} {
		for _, field := range reflect.VisibleFields(reflect.TypeOf(of)) {
			key, _, _ := strings.Cut(field.Tag.Get("bus"), ",")
			if key != "" && key != "*" && !strings.Contains(interfaces.Introspection, "`"+key+"` ") {
				t.Errorf("the description of the interface lacks %s of %T", key, of)
			}
		}
	}
}
