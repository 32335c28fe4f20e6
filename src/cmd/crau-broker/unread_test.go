// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"crypto-auditing/src/internal/broker/brokertest"
	"crypto-auditing/src/internal/busservice/bustest"
)

// newDeaf opens a connection that is never read.
func newDeaf(t *testing.T, bus *bustest.Bus) *bustest.Deaf {
	t.Helper()
	d, err := bustest.NewDeaf(bus.Address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// A message of the maximum size of the bus would take twenty times as much memory when
// decoded. It is discarded on arrival, and the caller gets an error.
func TestLongMessagesAreDiscardedUnread(t *testing.T) {
	for _, kind := range []bustest.Kind{bustest.Daemon, bustest.Broker} {
		t.Run(string(kind), func(t *testing.T) {
			bus := bustest.Start(t, kind)
			log := brokertest.New(t)
			log.Flush()
			b := start(t, bus, log.Dir, t.TempDir())
			caller, err := dbus.Connect(bus.Address)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { caller.Close() })
			status := func() error {
				return caller.Object(brokerName, brokerPath).Call(brokerName+".GetStatus", 0).Err
			}
			for deadline := time.Now().Add(time.Minute); status() != nil; time.Sleep(5 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal(status())
				}
			}
			m := &dbus.Message{Type: dbus.TypeMethodCall, Headers: map[dbus.HeaderField]dbus.Variant{
				dbus.FieldDestination: dbus.MakeVariant(brokerName), dbus.FieldPath: dbus.MakeVariant(dbus.ObjectPath(brokerPath)),
				dbus.FieldInterface: dbus.MakeVariant(brokerName), dbus.FieldMember: dbus.MakeVariant("Read"),
				dbus.FieldSignature: dbus.MakeVariant(dbus.ParseSignatureMust("a(yyyyyyyy)")),
			}}
			var header bytes.Buffer
			if err := m.EncodeTo(&header, binary.LittleEndian); err != nil {
				t.Fatal(err)
			}
			long := make([]byte, 32<<20)
			copy(long, header.Bytes())
			binary.LittleEndian.PutUint32(long[4:], uint32(len(long)-header.Len()))              // length of the body
			binary.LittleEndian.PutUint32(long[8:], 100)                                         // serial number
			binary.LittleEndian.PutUint32(long[header.Len():], uint32(len(long)-header.Len()-8)) // length of the array
			refused := make(chan error, 6)
			for range cap(refused) {
				d := newDeaf(t, bus)
				go func() {
					if _, err := d.Write(long); err != nil {
						refused <- err
						return
					}
					_ = d.SetReadDeadline(time.Now().Add(time.Minute))
					var got []byte
					// While 127 MiB wait to be read, dbus-daemon refuses calls itself.
					refusal := regexp.MustCompile(`org.crypto_auditing.Error.LimitExceeded|org.freedesktop.DBus.Error.LimitsExceeded`)
					for b := make([]byte, 4096); !refusal.Match(got); {
						n, err := d.Read(b)
						if err != nil {
							refused <- fmt.Errorf("%w after %q", err, got)
							return
						}
						got = append(got, b[:n]...)
					}
					refused <- nil
				}()
			}
			for n := 0; n < cap(refused); {
				select {
				case err := <-refused:
					if err != nil {
						t.Fatalf("a long message: %v", err)
					}
					n++
				default:
					var named dbus.Error
					if err := status(); errors.As(err, &named) && named.Name == "org.freedesktop.DBus.Error.LimitsExceeded" {
						time.Sleep(time.Millisecond)
					} else if err != nil {
						t.Fatalf("GetStatus beside long messages: %v", err)
					}
				}
			}
			if err := status(); err != nil {
				t.Errorf("GetStatus afterwards: %v", err)
			}
			if resident := bustest.Resident(t, b.pid()); resident > 128<<20 && !underRace {
				t.Errorf("the broker uses %d bytes", resident)
			}
		})
	}
}

// Connections that do not read their replies and signals, more than a bus accepts from
// one service, block no others, even of the same user.
func TestConnectionsThatDoNotReadBlockNoOthers(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	for _, kind := range []bustest.Kind{bustest.Daemon, bustest.Broker} {
		t.Run(string(kind), func(t *testing.T) { unread(t, kind) })
	}
}

func unread(t *testing.T, kind bustest.Kind) {
	bus := bustest.Start(t, kind)
	log := brokertest.New(t)
	r := rand.New(rand.NewPCG(3, 13))
	for range 20 {
		log.Append(brokertest.Some(r, 100)...)
	}
	begin := log.Flush().Sequence
	b := start(t, bus, log.Dir, t.TempDir())
	good := newSubscriber(t, bus, "", dict{}, "auto", 500)
	good.subscribe("newest")
	durable := newSubscriber(t, bus, "durable", dict{}, "acknowledge", 100)
	durable.subscribe("newest")
	caller, err := dbus.Connect(bus.Address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { caller.Close() })

	call := func(d *bustest.Deaf, method string, arguments ...any) {
		t.Helper()
		if err := d.Call(brokerName, brokerPath, method, arguments...); err != nil {
			t.Fatal(err)
		}
	}
	// 126 subscriptions, 128 with the two above, and replies of 128 MiB for each half of the
	// connections below.
	for n := range 6 {
		d := newDeaf(t, bus)
		for range 21 {
			flow := []string{"auto", "acknowledge"}[n%2]
			call(d, brokerName+".Subscribe", "", dict{}, dict{"after": dbus.MakeVariant("oldest"), "flow": dbus.MakeVariant(flow)})
		}
	}
	for range 8 {
		d := newDeaf(t, bus)
		for range 100 {
			call(d, brokerName+".Read", "oldest", dict{}, uint32(1000))
		}
		d = newDeaf(t, bus)
		for range 100 {
			call(d, "org.freedesktop.DBus.Introspectable.Introspect")
		}
	}
	var last uint64
	for range 20 {
		last = log.Append(brokertest.Some(r, 100)...).Sequence
		log.Flush()
		for _, s := range []*subscriber{good, durable} {
			if !s.reaches(last) {
				t.Fatalf("a subscriber has received up to %d of %d", s.last(), last)
			}
		}
		for method, arguments := range map[string][]any{
			"GetStatus": nil, "ListSubscriptions": nil, "Read": {"oldest", dict{}, uint32(1000)},
		} {
			if err := caller.Object(brokerName, brokerPath).Call(brokerName+"."+method, dbus.FlagNoAutoStart, arguments...).Err; err != nil {
				t.Fatalf("%s: %v", method, err)
			}
		}
	}
	for _, s := range []*subscriber{good, durable} {
		s.mu.Lock()
		if uint64(len(s.got)) != last-begin || len(s.skips) > 0 {
			t.Errorf("a subscriber has received %d groups of %d, skips %v", len(s.got), last-begin, s.skips)
		}
		s.mu.Unlock()
	}
	t.Logf("the broker uses %d MiB, the bus %d MiB", bustest.Resident(t, b.pid())>>20, bus.Resident(t)>>20)
}
