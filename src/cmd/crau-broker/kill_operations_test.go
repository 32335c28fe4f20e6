// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"crypto-auditing/src/internal/broker/delivery"
	"crypto-auditing/src/internal/busservice/bustest"
	"crypto-auditing/src/internal/event"
)

// completed returns the last entries of all operations in a log, and of the operations of a program.
// The filler writes all groups of an operation before the next operation.
func completed(t *testing.T, dir, program string) (all, of []uint64) {
	t.Helper()
	last, executable := uint64(0), ""
	end := func() {
		if last == 0 {
			return
		}
		all = append(all, last)
		if executable == program {
			of = append(of, last)
		}
	}
	readLog(t, dir, func(sequence uint64, g *event.Group) {
		if g.IsMetadata() {
			return
		}
		if string(g.Name) == "tls::handshake_client" {
			end()
			executable = string(g.Executable)
		}
		last = sequence
	})
	end()
	return all, of
}

func TestOperationsAreSentAtMostOnceAcrossKills(t *testing.T) {
	if testing.Short() {
		t.Skip("takes ten seconds")
	}
	bus := bustest.Start(t, bustest.Daemon)
	dir := t.TempDir()
	w := startWriter(t, dir, "-fresh")
	b := start(t, bus, dir, t.TempDir())
	const batch, program = 8, "program1"
	var subscribers []*subscriber
	for i := range 8 {
		filter := []dict{{}, {"executables": dbus.MakeVariant([]string{program})}}[i%2]
		s := newSubscriber(t, bus, fmt.Sprintf("s%d", i), filter, []string{"auto", "acknowledge"}[i/2%2], batch)
		s.form = string(delivery.Operations)
		s.subscribe("oldest")
		subscribers = append(subscribers, s)
	}
	// Wait for the first operations, so that kills can lose some.
	for deadline := time.Now().Add(time.Minute); slices.ContainsFunc(subscribers, func(s *subscriber) bool { return s.last() == 0 }); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.kill()
			t.Fatalf("no operations arrive; the broker printed:\n%s", tail(b.stderr.String()))
		}
	}
	w.kill() // it has written everything by now
	w.run()
	storm(t, *kills/2, bus, b, w, subscribers)
	all, of := completed(t, dir, program)
	for i, s := range subscribers {
		s.compare(b, [][]uint64{all, of}[i%2])
	}
}
