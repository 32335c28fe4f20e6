// SPDX-License-Identifier: Apache-2.0

package busservice

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"reflect"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"crypto-auditing/src/internal/broker"
	"crypto-auditing/src/internal/broker/brokertest"
	"crypto-auditing/src/internal/busservice/bustest"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/schema"
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
			e := &broker.Entry{Sequence: uint64(i), Group: &logged, Boot: int64(i) * 1e9}
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
	e := &broker.Entry{Sequence: 1, Group: &g}
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		dst = AppendGroup(dst[:0], e)
	}
	b.SetBytes(int64(len(dst)))
}

// A connection on which clients are pinged may break, as when the bus drops it:
// they are pinged on another.
func TestSignalsContinueWhenTheConnectionOfPingsBreaks(t *testing.T) {
	bus := bustest.Start(t, bustest.Daemon)
	log := brokertest.New(t)
	log.Flush()
	registry, err := schema.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	silent := slog.New(slog.NewTextHandler(io.Discard, nil))
	ready := make(chan struct{}, 1)
	s, err := New(Options{Address: bus.Address, Log: silent, Notify: func(state string) {
		if state == "READY=1" {
			ready <- struct{}{}
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	b, err := broker.New(broker.Options{LogDir: log.Dir, StateDir: t.TempDir(), Registry: registry, Form: AppendGroup, Log: silent})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, b) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	<-ready
	signals := make(chan *dbus.Signal, 100)
	conn, err := dbus.Connect(bus.Address, dbus.WithSignalHandler(dbus.NewSequentialSignalHandler()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.Signal(signals)
	for _, name := range []string{"", "durable"} {
		if err := conn.Object(Name, brokerPath).Call(brokerInterface+".Subscribe", 0, name, dictionary{}, dictionary{}).Err; err != nil {
			t.Fatal(err)
		}
	}
	last := map[dbus.ObjectPath]uint64{}
	for range 5 {
		end := log.Append(brokertest.Group{Name: "tls::sign"}, brokertest.Group{Name: "pk::sign"}).Sequence
		for done := 0; done < 2; {
			select {
			case signal := <-signals:
				if signal.Name != subscriptionInterface+".Events" {
					continue
				}
				for _, g := range signal.Body[0].([][]any) {
					n := g[0].(uint64)
					if n <= last[signal.Path] {
						t.Fatalf("group %d after %d", n, last[signal.Path])
					}
					if last[signal.Path] = n; n == end {
						done++
					}
				}
			case <-time.After(time.Minute):
				t.Fatalf("no signals any more: %v of %d", last, end)
			}
		}
		s.pingers.mu.Lock()
		for _, all := range s.pingers.users {
			for _, one := range all {
				one.conn.Close()
			}
		}
		s.pingers.mu.Unlock()
		for _, one := range b.Subscriptions() {
			for deadline := time.Now().Add(time.Minute); !one.Status().Attached; time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("a subscription is not sent any more")
				}
			}
		}
	}
}
