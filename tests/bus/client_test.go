// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"crypto-auditing/src/client"
)

func TestTheClientAndAnIndependentDecoderReadTheSameLog(t *testing.T) {
	onEveryBusWithServices(t, func(t *testing.T, w *world) {
		w.fire(t, 100)
		want := w.log(t)
		c := w.connect(t)
		for name, read := range map[string]func() []client.Group{
			"by stream": func() (groups []client.Group) {
				for g, err := range c.Groups(t.Context(), client.Oldest, client.Filter{}) {
					if err != nil {
						t.Fatal(err)
					}
					groups = append(groups, g)
				}
				return groups
			},
			"page by page": func() (groups []client.Group) {
				for cursor := client.Oldest; ; {
					page, err := c.Read(t.Context(), cursor, client.Filter{}, 70)
					if err != nil || page.Missing > 0 || len(page.Groups) > 70 {
						t.Fatalf("%d groups, %d missing, %v", len(page.Groups), page.Missing, err)
					}
					if page.Next == cursor {
						return groups
					}
					groups, cursor = append(groups, page.Groups...), page.Next
				}
			},
		} {
			got := read()
			if len(got) < len(want) {
				t.Fatalf("%s: %d groups, want %d", name, len(got), len(want))
			}
			for i := range want {
				if got[i].Sequence != uint64(i+1) || textOf(&got[i]) != want[i].text() {
					t.Fatalf("%s: group %d is %d: %s\nwant %s", name, i+1, got[i].Sequence, textOf(&got[i]), want[i].text())
				}
			}
		}
	})
}

func TestAFilterExcludesOtherGroups(t *testing.T) {
	onEveryBusWithServices(t, func(t *testing.T, w *world) {
		w.fire(t, 5)
		c := w.connect(t)
		count := func(f client.Filter, matches func(*client.Group) bool) (n int) {
			for g, err := range c.Groups(t.Context(), client.Oldest, f) {
				if err != nil {
					t.Fatal(err)
				}
				if g.IsMetadata() {
					continue // notices pass every filter
				}
				if !matches(&g) {
					t.Errorf("the filter %+v passes %+v", f, g)
				}
				n++
			}
			return n
		}
		for name, c := range map[string]struct {
			filter  client.Filter
			matches func(*client.Group) bool
			none    bool
		}{
			"contexts": {client.Filter{Contexts: []string{"tls::key_exchange"}}, func(g *client.Group) bool { return g.Name == "tls::key_exchange" }, false},
			"keys":     {client.Filter{Keys: []string{"tls::group"}}, func(g *client.Group) bool { return g.Value("tls::group") != nil }, false},
			"matches": {client.Filter{Matches: []string{"tls::protocol_version=772"}}, func(g *client.Group) bool {
				return g.Value("tls::protocol_version") == int64(772)
			}, false},
			"a program":       {client.Filter{Executables: []string{"replay"}}, func(g *client.Group) bool { return g.Executable == "replay" }, false},
			"another program": {client.Filter{Executables: []string{"curl"}}, func(*client.Group) bool { return false }, true},
			"the past":        {client.Filter{Until: time.Unix(1, 0)}, func(*client.Group) bool { return false }, true},
		} {
			if n := count(c.filter, c.matches); (n == 0) != c.none {
				t.Errorf("%s: %d groups, want none: %t", name, n, c.none)
			}
		}
	})
}

func TestErrorsOfTheBrokerMatchErrorsOfTheClient(t *testing.T) {
	onEveryBusWithServices(t, func(t *testing.T, w *world) {
		w.fire(t, 1)
		c := w.connect(t)
		foreign := client.Cursor(strings.Repeat("ab", 16) + "-0000000000000001")
		open := func(after client.Cursor, f client.Filter) error {
			s, err := c.Open(t.Context(), after, f, client.OpenOptions{})
			if err == nil {
				s.Close()
			}
			return err
		}
		subscribe := func(o client.SubscribeOptions) error {
			s, err := c.Subscribe(t.Context(), o)
			if err == nil {
				s.Close()
			}
			return err
		}
		read := func(after client.Cursor, f client.Filter) error {
			_, err := c.Read(t.Context(), after, f, 1)
			return err
		}
		bad := client.Filter{Matches: []string{"="}}
		for name, c := range map[string]struct{ err, want error }{
			"reading after an invalid cursor":     {read("here", client.Filter{}), client.ErrInvalidCursor},
			"reading after a foreign cursor":      {read(foreign, client.Filter{}), client.ErrForeignCursor},
			"reading with a bad filter":           {read(client.Oldest, bad), client.ErrInvalidFilter},
			"opening after an invalid cursor":     {open("here", client.Filter{}), client.ErrInvalidCursor},
			"opening after a foreign cursor":      {open(foreign, client.Filter{}), client.ErrForeignCursor},
			"opening with a bad filter":           {open(client.Oldest, bad), client.ErrInvalidFilter},
			"subscribing after an invalid cursor": {subscribe(client.SubscribeOptions{After: "here"}), client.ErrInvalidCursor},
			"subscribing after a foreign cursor":  {subscribe(client.SubscribeOptions{After: foreign}), client.ErrForeignCursor},
			"subscribing with a bad filter":       {subscribe(client.SubscribeOptions{Filter: bad}), client.ErrInvalidFilter},
			"subscribing with a bad name":         {subscribe(client.SubscribeOptions{Name: "a b"}), client.ErrInvalidArgument},
			"subscribing with too large batches":  {subscribe(client.SubscribeOptions{Batch: 1001}), client.ErrInvalidArgument},
			"deleting a missing subscription":     {c.DeleteSubscription(t.Context(), "none"), client.ErrNoSuchSubscription},
		} {
			if !errors.Is(c.err, c.want) {
				t.Errorf("%s: %v, want %v", name, c.err, c.want)
			}
		}
		if _, err := c.Attach(t.Context(), "none"); !errors.Is(err, client.ErrNoSuchSubscription) {
			t.Errorf("attaching to a missing subscription: %v", err)
		}
	})
}

// follower collects the groups that a subscription delivers.
type follower struct {
	t            *testing.T
	s            *client.Subscription
	acknowledges bool
	sequences    []uint64
	skipped      []client.Skipped
	cursor       client.Cursor
}

// until receives batches up to a cursor.
func (f *follower) until(cursor client.Cursor) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), patience)
	defer cancel()
	for f.cursor < cursor {
		b, err := f.s.Next(ctx)
		if err != nil {
			f.t.Fatalf("after %s: %v", f.cursor, err)
		}
		if b.Skipped != nil {
			f.skipped = append(f.skipped, *b.Skipped)
		}
		for i := range b.Groups {
			f.sequences = append(f.sequences, b.Groups[i].Sequence)
		}
		f.cursor = b.Cursor
		if f.acknowledges {
			if err := f.s.Acknowledge(ctx, b.Cursor); err != nil {
				f.t.Fatal(err)
			}
		}
	}
}

// sequence returns the number in a cursor.
func sequence(t *testing.T, c client.Cursor) (n uint64) {
	t.Helper()
	if _, err := fmt.Sscanf(string(c[strings.LastIndexByte(string(c), '-')+1:]), "%x", &n); err != nil {
		t.Fatalf("cursor %s: %v", c, err)
	}
	return n
}

// contiguous returns an error unless the sequences are all numbers from first to last.
func contiguous(sequences []uint64, first, last uint64) error {
	next := first
	for _, n := range sequences {
		if n != next {
			return fmt.Errorf("got sequence %d, want %d", n, next)
		}
		next++
	}
	if next != last+1 {
		return fmt.Errorf("the sequences end with %d, want %d", next-1, last)
	}
	return nil
}

func TestASubscriptionDeliversEachGroupOnceAndInOrder(t *testing.T) {
	onEveryBusWithServices(t, func(t *testing.T, w *world) {
		before := w.fire(t, 1)
		s, err := w.connect(t).Subscribe(t.Context(), client.SubscribeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		f := follower{t: t, s: s}
		var last client.Cursor
		for range 5 {
			last = w.fire(t, 20)
			f.until(last)
		}
		if err := contiguous(f.sequences, sequence(t, before)+1, sequence(t, last)); err != nil || len(f.skipped) > 0 {
			t.Errorf("%v, skipped %v", err, f.skipped)
		}
	})
}

func TestASubscriptionOutlivesTheBroker(t *testing.T) {
	onEveryBusWithServices(t, func(t *testing.T, w *world) {
		before := w.fire(t, 1)
		s, err := w.connect(t).Subscribe(t.Context(), client.SubscribeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		f := follower{t: t, s: s}
		f.until(w.fire(t, 20))
		for _, signal := range []string{"KILL", "TERM", "KILL", "TERM"} {
			w.endBroker(t, signal)
			f.until(w.fire(t, 20))
		}
		if err := contiguous(f.sequences, sequence(t, before)+1, sequence(t, f.cursor)); err != nil || len(f.skipped) > 0 {
			t.Errorf("%v, skipped %v", err, f.skipped)
		}
	})
}

func TestADurableSubscriptionContinuesAtItsPosition(t *testing.T) {
	onEveryBusWithServices(t, func(t *testing.T, w *world) {
		before := w.fire(t, 1)
		c := w.connect(t)
		options := client.SubscribeOptions{Name: "durable", After: before, Acknowledge: true}
		resume := func() *follower {
			s, err := c.Subscribe(t.Context(), options)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { s.Close() })
			return &follower{t: t, s: s, acknowledges: true}
		}
		f := resume()
		f.until(w.fire(t, 50))
		sequences := f.sequences
		if err := f.s.Close(); err != nil {
			t.Fatal(err)
		}
		// Record while no client is attached, before and after the broker is killed.
		w.fire(t, 20)
		w.killBroker(t)
		last := w.fire(t, 20)

		if s, err := c.Subscribe(t.Context(), client.SubscribeOptions{Name: "durable", Filter: client.Filter{Scopes: []string{"ssh"}}}); !errors.Is(err, client.ErrSubscriptionExists) {
			t.Errorf("subscribing with the same name and another filter: %v, %v", s, err)
		}
		f = resume()
		f.until(last)
		if err := contiguous(append(sequences, f.sequences...), sequence(t, before)+1, sequence(t, last)); err != nil || len(f.skipped) > 0 {
			t.Errorf("%v, skipped %v", err, f.skipped)
		}
		infos, err := c.Subscriptions(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		for _, info := range infos {
			if info.Name == "durable" {
				found++
				if info.User != 0 || !info.Attached || info.Flow != "acknowledge" || info.Delivered < uint64(len(f.sequences)) || info.Created.IsZero() {
					t.Errorf("the subscription is listed as %+v", info)
				}
			}
		}
		if found != 1 {
			t.Errorf("the subscription is listed %d times, want once", found)
		}
		// Another object takes over the subscription.
		other, err := c.Attach(t.Context(), "durable")
		if err != nil {
			t.Fatal(err)
		}
		if err := f.s.Acknowledge(t.Context(), f.cursor); err != nil {
			t.Errorf("acknowledging as the same user: %v", err)
		}
		g := &follower{t: t, s: other, acknowledges: true}
		g.until(w.fire(t, 1))
		if err := contiguous(g.sequences, sequence(t, last)+1, sequence(t, g.cursor)); err != nil {
			t.Errorf("after taking over: %v", err)
		}
		if err := other.Seek(t.Context(), last); err != nil {
			t.Fatal(err)
		}
		replayed := &follower{t: t, s: other, acknowledges: true}
		replayed.until(g.cursor)
		if err := contiguous(replayed.sequences, sequence(t, last)+1, sequence(t, g.cursor)); err != nil {
			t.Errorf("after seeking back: %v", err)
		}
		if err := other.Delete(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := c.DeleteSubscription(t.Context(), "durable"); !errors.Is(err, client.ErrNoSuchSubscription) {
			t.Errorf("deleting the subscription twice: %v", err)
		}
	})
}

func TestAStreamContinuesAfterABrokerRestart(t *testing.T) {
	onEveryBusWithServices(t, func(t *testing.T, w *world) {
		before := w.fire(t, 1)
		s, err := w.connect(t).Open(t.Context(), client.Newest, client.Filter{}, client.OpenOptions{Follow: true})
		if err != nil {
			t.Fatal(err)
		}
		var sequences []uint64
		until := func(cursor client.Cursor) {
			defer time.AfterFunc(patience, func() { s.Close() }).Stop()
			for s.Cursor() < cursor {
				e, err := s.Next()
				if err != nil {
					t.Fatal(err)
				}
				sequences = append(sequences, e.Sequence)
			}
		}
		until(w.fire(t, 20))
		w.killBroker(t)
		last := w.fire(t, 20)
		until(last)
		if err := contiguous(sequences, sequence(t, before)+1, sequence(t, last)); err != nil {
			t.Error(err)
		}
		time.AfterFunc(50*time.Millisecond, func() { s.Close() })
		if e, err := s.Next(); err != client.ErrClosed {
			t.Errorf("a stream that is closed while it waits returns %+v, %v", e, err)
		}
	})
}

func TestASubscriberThatDoesNotReadIsSkippedAndNotified(t *testing.T) {
	onEveryBusWithServices(t, func(t *testing.T, w *world) {
		before := w.fire(t, 1)
		c := w.connect(t)
		lazy, err := c.Subscribe(t.Context(), client.SubscribeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer lazy.Close()
		busy, err := c.Subscribe(t.Context(), client.SubscribeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer busy.Close()
		last := w.fire(t, 2000)
		f := follower{t: t, s: busy}
		f.until(last)
		if err := contiguous(f.sequences, sequence(t, before)+1, sequence(t, last)); err != nil || len(f.skipped) > 0 {
			t.Errorf("the subscriber that reads: %v, skipped %v", err, f.skipped)
		}
		// Together, the delivered and the skipped groups are all groups.
		f = follower{t: t, s: lazy}
		f.until(last)
		n := sequence(t, before)
		skipped := f.skipped
		for _, got := range f.sequences {
			for len(skipped) > 0 && sequence(t, skipped[0].From) == n {
				n, skipped = sequence(t, skipped[0].To), skipped[1:]
			}
			if n++; n != got {
				t.Fatalf("got sequence %d, want %d; skipped %v", got, n, f.skipped)
			}
		}
	})
}

func TestClosingASubscriptionEndsWaitingCalls(t *testing.T) {
	onEveryBusWithServices(t, func(t *testing.T, w *world) {
		s, err := w.connect(t).Subscribe(t.Context(), client.SubscribeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(50*time.Millisecond, func() { s.Close() })
		for b, err := range s.Batches(t.Context()) {
			t.Fatalf("%+v, %v", b, err)
		}
		if _, err := s.Next(t.Context()); !errors.Is(err, client.ErrClosed) {
			t.Errorf("Next after Close: %v", err)
		}
	})
}

func TestAnIndependentDecoderReadsTheStream(t *testing.T) {
	onEveryBusWithServices(t, func(t *testing.T, w *world) {
		w.fire(t, 10)
		want := w.log(t)
		s, err := w.connect(t).Open(t.Context(), client.Oldest, client.Filter{}, client.OpenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		sequence, err := io.ReadAll(s)
		if err != nil {
			t.Fatal(err)
		}
		got := decode(t, sequence)
		if len(got) < len(want) {
			t.Fatalf("%d entries, want %d", len(got), len(want))
		}
		now := time.Now().UnixNano()
		for i := range want {
			if got[i].text() != want[i].text() || got[i].Sequence != uint64(i+1) {
				t.Errorf("entry %d is %d: %s, want %s", i+1, got[i].Sequence, got[i].text(), want[i].text())
			}
			if at := got[i].Boot + int64(got[i].Start); at > now || at < now-int64(time.Hour) {
				t.Errorf("the time of entry %d is %v", i+1, time.Unix(0, at))
			}
		}
	})
}

func TestStatusShowsBrokerAndAgent(t *testing.T) {
	onEveryBusWithServices(t, func(t *testing.T, w *world) {
		newest := w.fire(t, 3)
		c := w.connect(t)
		s, err := c.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if s.Version == "" || s.Agent == nil || s.Agent.Version == "" || s.Newest < newest || s.Segments == 0 || s.DiskUsage == 0 || s.DiskFree == 0 || s.StoreError != "" || time.Since(s.Started) > time.Hour {
			t.Fatalf("%+v", s)
		}
		a := s.Agent
		if a.Hits == 0 || a.HitsSeen < a.Hits || a.LogDirectory != logDir || len(a.Libraries) != 1 || a.Libraries[0].Path != publisher ||
			a.Libraries[0].Sites == 0 || len(a.Libraries[0].Probes) == 0 || a.RingSize == 0 || time.Since(a.Started) > time.Hour {
			t.Errorf("the status of the agent is %+v", a)
		}
		if len(s.Other) > 0 || len(a.Other) > 0 {
			t.Errorf("the client does not know the properties %v, %v", s.Other, a.Other)
		}
	})
}

func TestFlushWritesProbedEvents(t *testing.T) {
	onEveryBusWithServices(t, func(t *testing.T, w *world) {
		before := w.fire(t, 1)
		w.must(t, stranger, publisher, "--count", "1", opt+"/traces/gnutls-tls13-p256.txt")
		c := w.connect(t)
		cursor, err := c.Flush(t.Context())
		if err != nil || cursor <= before {
			t.Errorf("Flush returns %s, %v, want a cursor after %s", cursor, err, before)
		}
		newest, err := c.Newest(t.Context())
		if err != nil || newest < cursor {
			t.Errorf("the newest cursor is %s, %v", newest, err)
		}
	})
}
