// SPDX-License-Identifier: Apache-2.0

package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"crypto-auditing/src/internal/broker/brokertest"
	"crypto-auditing/src/internal/busservice/bustest"
)

var kills = flag.Int("kills", 50, "how often the broker is killed")

// wanted is a filter and who passes it.
type wanted struct {
	filter dict
	passes func(brokertest.Group) bool
}

func filters() []wanted {
	of := func(key string, values ...string) dict { return dict{key: dbus.MakeVariant(values)} }
	return []wanted{
		{dict{}, func(brokertest.Group) bool { return true }},
		{of("executables", "curl"), func(g brokertest.Group) bool { return g.Executable == "curl" }},
		{of("contexts", "tls::*"), func(g brokertest.Group) bool { return strings.HasPrefix(g.Name, "tls::") }},
		{of("contexts", "tls::handshake"), func(g brokertest.Group) bool { return strings.HasPrefix(g.Name, "tls::handshake") }},
		{of("keys", "pk::bits"), func(g brokertest.Group) bool { _, ok := g.Data["pk::bits"]; return ok }},
		{of("matches", "pk::bits=771"), func(g brokertest.Group) bool { return g.Data["pk::bits"] == 771 }},
	}
}

// Whatever happens to the broker, nobody gets a group twice or out of order,
// and a kill costs one window at most.
func TestKilledAtAnyMomentTheBrokerSendsEveryGroupAtMostOnce(t *testing.T) {
	bus := bustest.Start(t, bustest.Daemon)
	log := brokertest.New(t)
	state := t.TempDir()
	log.Flush()
	b := start(t, bus, log.Dir, state)

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

	// The log grows all the while. expected has what of it is for whom.
	r := rand.New(rand.NewPCG(4, 4))
	expected := make([][]uint64, len(subscribers))
	grow := func(n int) {
		groups := brokertest.Some(r, n)
		last := log.Append(groups...).Sequence
		for i, g := range groups {
			for j, w := range want {
				if w.passes(g) {
					expected[j] = append(expected[j], last-uint64(n-1-i))
				}
			}
		}
	}
	stop := make(chan struct{})
	var growing sync.WaitGroup
	growing.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(3 * time.Millisecond):
				grow(1 + r.IntN(30))
			}
		}
	})
	chance := rand.New(rand.NewPCG(5, uint64(time.Now().UnixNano())))
	for range *kills {
		time.Sleep(time.Duration(chance.IntN(60_000)) * time.Microsecond)
		b.kill()
		b.run()
		// Some find it while it starts, others only later, or not before the
		// next kill.
		var again sync.WaitGroup
		for _, s := range subscribers {
			again.Go(func() { s.subscribe("") })
		}
		again.Wait()
	}
	close(stop)
	growing.Wait()
	// Whoever has lost the last window would wait for ever.
	grow(2 * batch * len(filters()))
	log.Flush()

	for i, s := range subscribers {
		last := expected[i][len(expected[i])-1]
		for deadline := time.Now().Add(30 * time.Second); s.last() < last; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s has got up to %d, not %d; the broker says:\n%s", s.name, s.last(), last, tail(b.stderr.String()))
			}
		}
		check(t, s, expected[i], batch, *kills)
	}
}

// check compares what a subscriber has got with what there was for it.
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
	// Kills may follow each other, and each may cost the next window.
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
	if windows > kills {
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
