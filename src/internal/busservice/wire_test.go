// SPDX-License-Identifier: Apache-2.0

package busservice

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/godbus/dbus/v5"

	"crypto-auditing/src/internal/broker/reading"
	"crypto-auditing/src/internal/event"
)

// signalMessage is the signal Events with groups, as it leaves.
func signalMessage(groups []byte, cursor string) []byte {
	groups = trim(groups)
	before, after := eventsMessage(7, ":1.5", "/org/crypto_auditing/Broker/subscription/0", groups, cursor)
	return append(append(before, groups...), after...)
}

// decoded returns what another implementation reads in a message.
func decoded(t *testing.T, b []byte) (groups []group, cursor string) {
	t.Helper()
	m, err := dbus.DecodeMessage(bytes.NewReader(b))
	if err != nil {
		t.Fatalf("%v: %x", err, b)
	}
	if err := m.IsValid(); err != nil || m.Type != dbus.TypeSignal {
		t.Fatalf("%v: %v", m, err)
	}
	for field, want := range map[dbus.HeaderField]any{
		dbus.FieldDestination: ":1.5", dbus.FieldMember: "Events", dbus.FieldInterface: subscriptionInterface,
		dbus.FieldPath:      dbus.ObjectPath("/org/crypto_auditing/Broker/subscription/0"),
		dbus.FieldSignature: dbus.ParseSignatureMust("a(tstta{sv}a(sv))s"),
	} {
		if got := m.Headers[field].Value(); got != want {
			t.Errorf("header %d is %v, want %v", field, got, want)
		}
	}
	if err := dbus.Store(m.Body, &groups, &cursor); err != nil {
		t.Fatal(err)
	}
	return groups, cursor
}

// FuzzGroups writes groups with any bytes in them and compares what another
// implementation reads with what Read returns.
func FuzzGroups(f *testing.F) {
	f.Add([]byte("name"), []byte("exe"), []byte("key"), []byte("value"), int64(5), uint8(3))
	f.Add([]byte{}, []byte{0xff, 0}, []byte("k\x00"), []byte{0, 0xff}, int64(-1), uint8(0))
	f.Add([]byte("tls::handshake"), []byte("\\"), []byte("ключ"), []byte("знач"), int64(1)<<62, uint8(9))
	f.Fuzz(func(t *testing.T, name, executable, key, value []byte, word int64, n uint8) {
		var all []byte
		var want []group
		for i := range n % 10 {
			g := event.Group{
				Context: event.ContextID{i}, Start: uint64(word), End: uint64(i), Name: name, Executable: executable, Origin: value,
			}
			if i%2 == 1 {
				g.Events = append(g.Events, event.Event{Kind: event.NewContext, Parent: event.ContextID{9}, Executable: executable, Origin: key})
			}
			for _, v := range []event.Value{{Word: word}, {Kind: event.String, Bytes: value}, {Kind: event.Blob, Bytes: value}}[:i%4%3] {
				g.Events = append(g.Events, event.Event{Key: key, Value: v})
			}
			// Only what may stand in a log is to be written.
			var logged event.Group
			if _, err := event.Decode(event.Append(nil, &g), &logged); err != nil {
				return
			}
			e := &reading.Entry{Sequence: uint64(i), Group: &logged, Boot: int64(i) * 1e9}
			begin := len(all)
			all = AppendGroup(all, e)
			if len(all)%8 != 0 {
				t.Fatalf("a group ends at %d", len(all))
			}
			if alone := AppendGroup(nil, e); !bytes.Equal(alone, all[begin:]) {
				t.Fatal("a group depends on where it stands")
			}
			want = append(want, groupOf(e))
		}
		got, cursor := decoded(t, signalMessage(all, "0-1"))
		if len(got) != len(want) || cursor != "0-1" {
			t.Fatalf("%d groups of %d, cursor %q", len(got), len(want), cursor)
		}
		for i := range got {
			if !reflect.DeepEqual(got[i], want[i]) {
				t.Errorf("group %d\nis   %+v\nwant %+v", i, got[i], want[i])
			}
		}
	})
}

func BenchmarkAppendGroup(b *testing.B) {
	g := event.Group{
		Name: []byte("tls::handshake_client"), Executable: []byte("curl"), Origin: []byte("12345678"),
		Events: []event.Event{
			{Kind: event.NewContext}, {Key: []byte("name"), Value: event.Value{Kind: event.String, Bytes: []byte("tls::handshake_client")}},
			{Key: []byte("tls::protocol_version"), Value: event.Value{Word: 772}},
		},
	}
	e := &reading.Entry{Sequence: 1, Group: &g}
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		dst = AppendGroup(dst[:0], e)
	}
	b.SetBytes(int64(len(dst)))
}
