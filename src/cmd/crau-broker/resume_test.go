// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"crypto-auditing/src/internal/broker/brokertest"
	"crypto-auditing/src/internal/busservice/bustest"
)

// attached returns the names of the durable subscriptions that a connection
// receives.
func attached(t *testing.T, conn *dbus.Conn) []string {
	t.Helper()
	var list []struct {
		Name               string
		Path               dbus.ObjectPath
		Delivered, Pending uint64
		Attributes         dict
	}
	err := conn.Object(brokerName, brokerPath).Call(brokerName+".ListSubscriptions", dbus.FlagNoAutoStart).Store(&list)
	if err != nil {
		return nil // the broker has not started yet
	}
	var names []string
	for _, l := range list {
		if l.Attributes["attached"].Value().(bool) {
			names = append(names, l.Name)
		}
	}
	slices.Sort(names)
	return names
}

// A new broker continues the durable subscriptions of clients that are still connected,
// after a kill and after an orderly exit. The clients need not call it.
func TestDurableSubscriptionsContinueByThemselves(t *testing.T) {
	for _, kind := range []bustest.Kind{bustest.Daemon, bustest.Broker} {
		t.Run(string(kind), func(t *testing.T) {
			bus := bustest.Start(t, kind)
			log := brokertest.New(t)
			log.Flush()
			b := start(t, bus, log.Dir, t.TempDir())
			stays := newSubscriber(t, bus, "stays", dict{}, "auto", 16)
			stays.subscribe("newest")
			confirms := newSubscriber(t, bus, "confirms", dict{}, "acknowledge", 16)
			confirms.subscribe("newest")
			departs := newSubscriber(t, bus, "departs", dict{}, "auto", 16)
			departs.subscribe("newest")
			observer := newSubscriber(t, bus, "", dict{}, "auto", 16)
			r := rand.New(rand.NewPCG(14, 14))
			for round, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGKILL, syscall.SIGKILL} {
				last := log.Append(brokertest.Some(r, 40)...).Sequence
				if !stays.reaches(last) || !confirms.reaches(last) {
					t.Fatalf("round %d: %d and %d of %d have arrived", round, stays.last(), confirms.last(), last)
				}
				if round == 0 {
					departs.reaches(last)
				}
				if err := b.command.Process.Signal(signal); err != nil {
					t.Fatal(err)
				}
				_ = b.command.Wait()
				if round == 0 {
					departs.conn.Close()
				}
				log.Append(brokertest.Some(r, 40)...)
				b.run()
				want := []string{"confirms", "stays"}
				for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
					names := attached(t, observer.conn)
					if slices.Equal(names, want) {
						break
					}
					if time.Now().After(deadline) {
						t.Fatalf("round %d: %q are attached, want %q", round, names, want)
					}
				}
			}
			last := log.Append(brokertest.Some(r, 40)...).Sequence
			for _, s := range []*subscriber{stays, confirms} {
				if !s.reaches(last) {
					t.Fatalf("%s has received up to %d of %d", s.name, s.last(), last)
				}
				s.mu.Lock()
				// Groups that were recorded while no broker ran have arrived, too, each once.
				for i, n := range s.got {
					if n != s.got[0]+uint64(i) {
						t.Errorf("%s: group %d after %d", s.name, n, s.got[i-1])
						break
					}
				}
				if len(s.skips) > 0 {
					t.Errorf("%s: skips %v", s.name, s.skips)
				}
				s.mu.Unlock()
			}
		})
	}
}
