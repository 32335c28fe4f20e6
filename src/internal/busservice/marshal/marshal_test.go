// SPDX-License-Identifier: Apache-2.0

package marshal

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/godbus/dbus/v5"

	"crypto-auditing/src/internal/event"
)

const subscription = "org.crypto_auditing.Broker.Subscription"

// group is a group as decoded by another implementation.
type group struct {
	Sequence   uint64
	Context    string
	Start, End uint64
	Attributes map[string]dbus.Variant
	Data       []datum
}

type datum struct {
	Key   string
	Value dbus.Variant
}

// groupOf returns a group as the interface describes it.
func groupOf(e *event.Entry) group {
	g := group{
		Sequence: e.Sequence, Context: e.Group.Context.String(), Start: e.Start(), End: e.End(),
		Attributes: map[string]dbus.Variant{}, Data: []datum{},
	}
	for _, a := range e.Attributes(nil) {
		g.Attributes[a.Name] = dbus.MakeVariant(a.Number)
		if a.Text != nil {
			g.Attributes[a.Name] = dbus.MakeVariant(string(a.Text))
		}
	}
	for _, d := range e.Group.Events {
		if d.Kind != event.Data {
			continue
		}
		value := dbus.MakeVariant(append([]byte{}, d.Value.Bytes...))
		switch d.Value.Form() {
		case event.Word:
			value = dbus.MakeVariant(d.Value.Word)
		case event.String:
			value = dbus.MakeVariant(string(d.Value.Bytes))
		}
		g.Data = append(g.Data, datum{string(event.Escaped(d.Key)), value})
	}
	return g
}

// decoded decodes a message with groups by another implementation.
func decoded(t *testing.T, parts [][]byte, rest ...any) (m *dbus.Message, groups []group) {
	t.Helper()
	b := bytes.Join(parts, nil)
	m, err := dbus.DecodeMessage(bytes.NewReader(b))
	if err != nil {
		t.Fatalf("%v: %x", err, b)
	}
	if err := m.IsValid(); err != nil {
		t.Fatalf("%v: %v", m, err)
	}
	if err := dbus.Store(m.Body, append([]any{&groups}, rest...)...); err != nil {
		t.Fatal(err)
	}
	return m, groups
}

func compareHeaders(t *testing.T, m *dbus.Message, want map[dbus.HeaderField]any) {
	t.Helper()
	for field, value := range want {
		if got := m.Headers[field].Value(); got != value {
			t.Errorf("header %d is %v, want %v", field, got, value)
		}
	}
}

// FuzzGroups encodes groups with arbitrary bytes, and compares them with signals and
// replies decoded by another implementation.
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
				Unit: key, Source: name,
			}
			if i%2 == 1 {
				g.Events = append(g.Events, event.Event{Kind: event.NewContext, Parent: event.ContextID{9}, Executable: executable, Origin: key})
			}
			for _, v := range []event.Value{{Word: word}, {Kind: event.String, Bytes: value}, {Kind: event.Blob, Bytes: value}}[:i%4%3] {
				g.Events = append(g.Events, event.Event{Key: key, Value: v})
			}
			// Only groups that may be in a log are encoded.
			var logged event.Group
			if _, err := event.Decode(event.Append(nil, &g), &logged); err != nil {
				return
			}
			e := &event.Entry{Sequence: uint64(i), Group: &logged, Boot: int64(i) * 1e9}
			begin := len(all)
			all = AppendGroup(all, e)
			if len(all)%8 != 0 {
				t.Fatalf("a group ends at %d", len(all))
			}
			if alone := AppendGroup(nil, e); !bytes.Equal(alone, all[begin:]) {
				t.Fatal("the encoding of a group depends on its offset")
			}
			want = append(want, groupOf(e))
		}
		var cursor, next string
		var missing uint64
		const path = "/org/crypto_auditing/Broker/subscription/0"
		m, got := decoded(t, Events(7, ":1.5", path, subscription, all, "0-1"), &cursor)
		compareHeaders(t, m, map[dbus.HeaderField]any{
			dbus.FieldDestination: ":1.5", dbus.FieldMember: "Events", dbus.FieldInterface: subscription,
			dbus.FieldPath: dbus.ObjectPath(path), dbus.FieldSignature: dbus.ParseSignatureMust("a(tstta{sv}a(sv))s"),
		})
		page := Page{Groups: all, Next: "0-2", Missing: uint64(n)}
		m, read := decoded(t, page.Reply(8, ":1.6", 99), &next, &missing)
		compareHeaders(t, m, map[dbus.HeaderField]any{
			dbus.FieldDestination: ":1.6", dbus.FieldReplySerial: uint32(99), dbus.FieldSignature: dbus.ParseSignatureMust("a(tstta{sv}a(sv))st"),
		})
		if len(got) != len(want) || cursor != "0-1" || next != "0-2" || missing != uint64(n) || m.Type != dbus.TypeMethodReply {
			t.Fatalf("%d groups of %d, cursor %q; next %q, %d missing", len(got), len(want), cursor, next, missing)
		}
		if !reflect.DeepEqual(got, read) {
			t.Errorf("a signal has %+v\na reply %+v", got, read)
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
	e := &event.Entry{Sequence: 1, Group: &g}
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		dst = AppendGroup(dst[:0], e)
	}
	b.SetBytes(int64(len(dst)))
}
