// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"crypto-auditing/src/internal/busservice/bustest"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
)

var kills = flag.Int("kills", 50, "how often the broker, a client or the writer of the log is killed")

// wanted is a filter, and a function that reports which groups pass it.
type wanted struct {
	filter dict
	passes func(*event.Group) bool
}

func filters() []wanted {
	of := func(key string, values ...string) dict { return dict{key: dbus.MakeVariant(values)} }
	datum := func(g *event.Group, passes func(key string, word int64) bool) bool {
		return slices.ContainsFunc(g.Events, func(e event.Event) bool {
			return e.Kind == event.Data && passes(string(e.Key), e.Value.Word)
		})
	}
	return []wanted{
		{dict{}, func(*event.Group) bool { return true }},
		{of("executables", "program1"), func(g *event.Group) bool { return string(g.Executable) == "program1" }},
		{of("contexts", "tls::*"), func(g *event.Group) bool { return strings.HasPrefix(string(g.Name), "tls::") }},
		{of("contexts", "tls::handshake"), func(g *event.Group) bool { return strings.HasPrefix(string(g.Name), "tls::handshake") }},
		{of("keys", "pk::bits"), func(g *event.Group) bool {
			return datum(g, func(key string, _ int64) bool { return key == "pk::bits" })
		}},
		{of("matches", "pk::bits=256"), func(g *event.Group) bool {
			return datum(g, func(key string, word int64) bool { return key == "pk::bits" && word == 256 })
		}},
	}
}

// writer is a process that appends to a log until it is killed.
type writer struct {
	t       *testing.T
	program string
	options []string
	command *exec.Cmd
}

// startWriter starts a writer with options of the filler.
func startWriter(t *testing.T, dir string, options ...string) *writer {
	t.Helper()
	w := &writer{t: t, program: filepath.Join(t.TempDir(), "filler"), options: append([]string{
		"-dir", dir, "-quiet", "-chunks", "250", "-groups", "17", "-pause", "4ms", "-executables", "3", "-segment-chunks", "200",
	}, options...)}
	if out, err := exec.Command("go", "build", "-o", w.program, "crypto-auditing/src/internal/broker/filler").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	w.run()
	t.Cleanup(w.kill)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if files, err := filepath.Glob(filepath.Join(dir, "audit-*.zst")); err == nil && len(files) > 0 {
			return w
		}
		if time.Now().After(deadline) {
			t.Fatal("the writer has not created a segment")
		}
	}
}

// run starts the writer. It exits after as many chunks as it writes in a second:
// otherwise, on a slow machine, the subscribers could never catch up with it.
func (w *writer) run() {
	w.t.Helper()
	w.command = exec.Command(w.program, w.options...)
	w.command.Stderr = os.Stderr
	if err := w.command.Start(); err != nil {
		w.t.Fatal(err)
	}
}

func (w *writer) kill() {
	_ = w.command.Process.Kill()
	_ = w.command.Wait()
}

// logged returns the groups of a log that pass each filter.
func logged(t *testing.T, dir string, want []wanted) [][]uint64 {
	t.Helper()
	passed := make([][]uint64, len(want))
	readLog(t, dir, func(sequence uint64, g *event.Group) {
		for i := range want {
			if want[i].passes(g) {
				passed[i] = append(passed[i], sequence)
			}
		}
	})
	return passed
}

// readLog passes all groups of a log to a function.
func readLog(t *testing.T, dir string, take func(sequence uint64, g *event.Group)) {
	t.Helper()
	r, err := logstore.OpenReader(dir, logstore.ReaderOptions{EntryLen: event.Len})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var g event.Group
	for {
		chunk, err := r.Next(t.Context())
		if err == io.EOF {
			return
		}
		if err != nil {
			// A killed writer leaves a torn end without entries.
			var torn *logstore.CorruptError
			if !errors.As(err, &torn) || torn.To != 0 {
				t.Fatal(err)
			}
			continue
		}
		for sequence, entry := range chunk.All() {
			if _, err := event.Decode(entry, &g); err != nil {
				t.Fatal(err)
			}
			take(sequence, &g)
		}
	}
}

// Whether the broker, a client or the writer of the log is killed, no client receives a
// group twice or out of order, and a kill costs at most one window.
func TestEveryGroupIsSentAtMostOnceAcrossKills(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	bus := bustest.Start(t, bustest.Daemon)
	dir := t.TempDir()
	w := startWriter(t, dir)
	b := start(t, bus, dir, t.TempDir())

	const batch = 16
	var subscribers []*subscriber
	var want []wanted
	for i := range 20 {
		w := filters()[i%len(filters())]
		flow := []string{"auto", "acknowledge"}[i/len(filters())%2]
		s := newSubscriber(t, bus, fmt.Sprintf("s%d", i), w.filter, flow, batch)
		s.subscribe("oldest")
		subscribers = append(subscribers, s)
		want = append(want, w)
	}
	// Wait until kills can lose groups, even on a slow machine.
	enough := func(t *testing.T) bool {
		return !slices.ContainsFunc(logged(t, dir, want), func(passed []uint64) bool { return len(passed) <= 2*batch })
	}
	for deadline := time.Now().Add(time.Minute); !enough(t); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the log does not grow")
		}
	}
	storm(t, *kills, bus, b, w, subscribers)
	expected := logged(t, dir, want)
	// A subscriber is notified of a lost window only with the next group. No group follows
	// the last window, so its groups may be missing.
	for i, s := range subscribers {
		s.compare(b, expected[i])
	}
}

// storm kills the broker, the subscribers and the writer at random, and finally the writer.
func storm(t *testing.T, kills int, bus *bustest.Bus, b *process, w *writer, subscribers []*subscriber) {
	t.Helper()
	chance := rand.New(rand.NewPCG(5, uint64(time.Now().UnixNano())))
	killed := map[string]int{}
	for range kills {
		time.Sleep(time.Duration(chance.IntN(60_000)) * time.Microsecond)
		switch chance.IntN(4) {
		case 0:
			killed["writer"]++
			w.kill()
			w.run()
			continue
		case 1:
			killed["client"]++
			s := subscribers[chance.IntN(len(subscribers))]
			s.kills++
			s.reconnect(bus)
			s.subscribe("")
			continue
		}
		killed["broker"]++
		b.kill()
		b.run()
		// Some subscribers call the broker while it starts, others later.
		var subscribing sync.WaitGroup
		for _, s := range subscribers {
			s.kills++
			subscribing.Go(func() { s.subscribe("") })
		}
		subscribing.Wait()
	}
	t.Logf("killed: %v", killed)
	w.kill()
}

// compare waits until the subscriber has nearly all expected groups, and checks them.
func (s *subscriber) compare(b *process, all []uint64) {
	s.t.Helper()
	batch := int(s.batch)
	enough := all[max(0, len(all)-1-batch)]
	if !s.reaches(enough) {
		b.kill() // ends its output
		s.t.Fatalf("%s received up to %d, not %d; the broker printed:\n%s", s.name, s.last(), enough, tail(b.stderr.String()))
	}
	check(s.t, s, all, batch, s.kills)
}

// check compares the received groups of a subscriber with the expected ones.
func check(t *testing.T, s *subscriber, expected []uint64, batch, kills int) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := 1; i < len(s.got); i++ {
		if s.got[i] <= s.got[i-1] {
			t.Fatalf("%s: group %d comes after %d", s.name, s.got[i], s.got[i-1])
		}
	}
	got := map[uint64]bool{}
	for _, n := range s.got {
		got[n] = true
	}
	// Each of several kills in a row may cost one more window.
	windows, run, missing := 0, 0, 0
	for _, n := range expected {
		explained := slices.ContainsFunc(s.skips, func(k skip) bool { return n > k.from && n <= k.to })
		if got[n] || explained {
			run = 0
			continue
		}
		missing++
		if run++; run%batch == 1 {
			windows++
		}
	}
	// The last window may be missing, too: the test does not wait for it.
	if windows > kills+1 {
		t.Errorf("%s: %d groups are missing, %d windows, after %d kills", s.name, missing, windows, kills)
	}
	if s.largest > batch {
		t.Errorf("%s: a window of %d groups", s.name, s.largest)
	}
	t.Logf("%s: %d of %d groups, %d missing in %d windows, %d skips", s.name, len(s.got), len(expected), missing, windows, len(s.skips))
}

// tail returns the end of a text.
func tail(text string) string {
	const most = 2000
	return text[max(0, len(text)-most):]
}
