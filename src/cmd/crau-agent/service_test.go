// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"crypto-auditing/src/internal/agent"
	"crypto-auditing/src/internal/loss"
	"crypto-auditing/src/internal/wakeup"
)

func TestStatusText(t *testing.T) {
	for name, c := range map[string]struct {
		summary agent.Summary
		want    string
	}{
		"nothing yet": {agent.Summary{}, "waiting for libraries with probes, 0 hits, nothing lost"},
		"one of each": {agent.Summary{Libraries: 1, Hits: 1}, "recording 1 library, 1 hit, nothing lost"},
		"many": {
			agent.Summary{Libraries: 3, Hits: 1234567, Lost: []loss.Loss{{Reason: loss.RingFull}}},
			"recording 3 libraries, 1,234,567 hits, nothing lost",
		},
		"losses": {
			agent.Summary{Libraries: 2, Hits: 999, Lost: []loss.Loss{
				{Reason: loss.RingFull, Hits: 1000, Events: 2000}, {Reason: loss.SpecMissing}, {Reason: loss.Unreadable, Events: 1},
			}},
			"recording 2 libraries, 999 hits, lost 1,000 hits, 2,001 events (ring-full, unreadable)",
		},
		"sockets": {agent.Summary{Sockets: true}, "recording handshakes at sockets, 0 hits, nothing lost"},
		"both":    {agent.Summary{Libraries: 2, Sockets: true, Hits: 1}, "recording 2 libraries and handshakes at sockets, 1 hit, nothing lost"},
		"full disk": {
			agent.Summary{Libraries: 2, Hits: 7, Full: "no space left on device"},
			"recording 2 libraries, 7 hits, nothing lost; log write failed: no space left on device",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := statusText(c.summary); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// notifications collects the states that a service sends to the service manager.
type notifications struct {
	mu     sync.Mutex
	states []string
	more   chan struct{}
}

func (n *notifications) notify(state string) error {
	n.mu.Lock()
	n.states = append(n.states, state)
	n.mu.Unlock()
	n.more <- struct{}{}
	return nil
}

// await waits until a state that begins with prefix was sent, ignoring the first
// states, as many as after.
func (n *notifications) await(t *testing.T, prefix string, after int) {
	t.Helper()
	for {
		n.mu.Lock()
		found := slices.ContainsFunc(n.states[min(after, len(n.states)):], func(s string) bool { return strings.HasPrefix(s, prefix) })
		n.mu.Unlock()
		if found {
			return
		}
		select {
		case <-n.more:
		case <-time.After(time.Minute):
			t.Fatalf("%s was not sent; sent: %q", prefix, n.all())
		}
	}
}

func (n *notifications) all() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.states)
}

// standIn is an agent whose pipeline hangs on request. A real agent needs privileges,
// and does not hang.
type standIn struct {
	mu      sync.Mutex
	summary agent.Summary
	stuck   bool
	asked   chan struct{} // receives an element for each unanswered call of Alive
}

func (a *standIn) Summary() agent.Summary {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.summary
}

func (a *standIn) Alive(ctx context.Context) error {
	a.mu.Lock()
	stuck := a.stuck
	a.mu.Unlock()
	if stuck {
		a.asked <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

// serve runs a service with an agent until the test ends.
func serve(t *testing.T, a *standIn, watchdog time.Duration, reload func() error) (*service, *notifications) {
	t.Helper()
	n := &notifications{more: make(chan struct{}, 1000)}
	s := &service{
		log: slog.New(slog.NewTextHandler(io.Discard, nil)), notify: n.notify, watchdog: watchdog, pause: time.Millisecond,
		hangup: make(chan os.Signal, 1), recording: make(chan struct{}), dirty: wakeup.New(),
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.run(ctx, a, reload)
	}()
	s.ready()
	n.await(t, "READY=1\nSTATUS=", 0)
	t.Cleanup(func() {
		cancel()
		<-done
		if states := n.all(); !strings.HasPrefix(states[len(states)-1], "STOPPING=1\n") {
			t.Errorf("the last sent state is %q", states[len(states)-1])
		}
	})
	return s, n
}

func TestStatusIsSentWhenItChanges(t *testing.T) {
	a := &standIn{summary: agent.Summary{Libraries: 1}}
	s, n := serve(t, a, 0, nil)
	a.mu.Lock()
	a.summary.Hits = 5
	a.mu.Unlock()
	s.changed()
	n.await(t, "STATUS=recording 1 library, 5 hits", 0)
	before := len(n.all())
	// The same state is not sent twice: it would arrive before the next one.
	s.changed()
	a.mu.Lock()
	a.summary.Hits = 6
	a.mu.Unlock()
	s.changed()
	n.await(t, "STATUS=recording 1 library, 6 hits", before)
	if states := n.all(); len(states) != before+1 {
		t.Errorf("sent: %q", states)
	}
}

func TestWatchdogIsNotifiedByARunningPipeline(t *testing.T) {
	_, n := serve(t, &standIn{}, 20*time.Millisecond, nil)
	n.await(t, "WATCHDOG=1", 0)
	n.await(t, "WATCHDOG=1", len(n.all()))
}

func TestWatchdogIsNotNotifiedByAStuckPipeline(t *testing.T) {
	a := &standIn{stuck: true, asked: make(chan struct{}, 100)}
	_, n := serve(t, a, 20*time.Millisecond, nil)
	<-a.asked
	if states := n.all(); slices.Contains(states, "WATCHDOG=1") {
		t.Errorf("sent: %q", states)
	}
}

func TestReloadNotifiesTheServiceManagerForEveryResult(t *testing.T) {
	for name, failure := range map[string]error{"good": nil, "bad": errors.New("agent.conf:3: bad")} {
		t.Run(name, func(t *testing.T) {
			var reloaded bool
			s, n := serve(t, &standIn{}, 0, func() error {
				reloaded = true
				return failure
			})
			s.hangup <- syscall.SIGHUP
			n.await(t, "READY=1", 1)
			states := n.all()
			if !reloaded || len(states) != 3 || !strings.HasPrefix(states[1], "RELOADING=1\nMONOTONIC_USEC=") {
				t.Errorf("reloaded %v, sent: %q", reloaded, states)
			}
		})
	}
}
