// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/loss"
)

// refusingStore accepts or refuses entries as configured, and commits them at once. It
// replaces a disk, which does not fail on request.
type refusingStore struct {
	mu        sync.Mutex
	err       error
	sequence  uint64
	committed func(logstore.Position)
	entries   [][]byte
	tries     atomic.Int32
}

func (s *refusingStore) Append(b logstore.Batch) (logstore.Position, error) {
	s.tries.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return logstore.Position{}, s.err
	}
	s.sequence += uint64(len(b.Ends))
	s.entries = append(s.entries, append([]byte(nil), b.Entries...))
	p := logstore.Position{Cursor: logstore.Cursor{Sequence: s.sequence}}
	s.committed(p)
	return p, nil
}

func (s *refusingStore) refuse(err error) {
	s.mu.Lock()
	s.err = err
	s.mu.Unlock()
}

func testCommitter(t *testing.T) (*committer, *refusingStore, *loss.Counters) {
	t.Helper()
	l := &loss.Counters{}
	c := newCommitter(l, slog.New(slog.DiscardHandler))
	c.patience = time.Millisecond
	s := &refusingStore{committed: c.committed}
	c.store = s
	ended := start(c.run)
	t.Cleanup(func() {
		c.Close()
		<-ended
	})
	return c, s, l
}

// commitOne commits a batch of one group and waits for it.
func commitOne(c *committer, l *loss.Counters) {
	b := c.Batch()
	b.Entries = event.Append(b.Entries, &event.Group{Start: 5, End: 6, Events: []event.Event{{Key: []byte("k")}}})
	b.End()
	b.Hits, b.Events = 1, 1
	b.First, b.Last = 5, 6
	b.Starts = append(b.Starts, 5)
	b.Lose(l, 100)
	taken := make(chan struct{})
	b.Then = append(b.Then, func() { close(taken) })
	c.Put(b)
	<-taken
}

func TestRefusedBatchesAreCountedByReasonAndLoggedLater(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		want loss.Reason
	}{
		"slow disk":   {&logstore.FullError{}, loss.QueueFull},
		"full disk":   {&logstore.FullError{Err: syscall.ENOSPC}, loss.DiskFull},
		"quota":       {&logstore.FullError{Err: syscall.EDQUOT}, loss.DiskFull},
		"broken disk": {&logstore.FullError{Err: syscall.EIO}, loss.WriteFailed},
		"other":       {errors.New("other"), loss.WriteFailed},
	} {
		t.Run(name, func(t *testing.T) {
			committer, store, losses := testCommitter(t)
			store.refuse(c.err)
			commitOne(committer, losses)
			commitOne(committer, losses)
			if got := losses.List(); len(got) != 1 || got[0] != (loss.Loss{Reason: c.want, Hits: 2, Events: 2}) {
				t.Fatalf("losses %+v", got)
			}
			if !losses.Pending() {
				t.Error("the loss is considered logged")
			}
			store.refuse(nil)
			commitOne(committer, losses)
			if losses.Pending() {
				t.Error("the loss is not logged")
			}
			var g event.Group
			last := store.entries[0]
			n, err := event.Decode(last, &g)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := event.Decode(last[n:], &g); err != nil {
				t.Fatal(err)
			}
			if l, ok := g.Loss(); !ok || l.Events != 2 || l.Hits != 2 || l.Reason != string(c.want) || l.Start != 5 {
				t.Errorf("the log has %+v", l)
			}
			if s := committer.counts(); s.hits != 1 || s.events != 1 || s.groups != 1 {
				t.Errorf("recorded %+v", s)
			}
		})
	}
}

func TestTheCommitterWaitsForASlowDisk(t *testing.T) {
	c, store, l := testCommitter(t)
	c.patience = time.Hour
	store.refuse(&logstore.FullError{})
	b := c.Batch()
	b.Entries = append(b.Entries, make([]byte, smallBatch+1)...)
	b.End()
	b.Hits = 1
	c.Put(b) // returns at once: the batch is not small
	for store.tries.Load() < 3 {
		time.Sleep(time.Millisecond)
	}
	if len(l.List()) != 0 {
		t.Errorf("losses %+v while the batch waits", l.List())
	}
	store.refuse(nil)
	commitOne(c, l)
	if s := c.counts(); s.hits != 2 || len(l.List()) != 0 || len(store.entries[0]) <= smallBatch {
		t.Errorf("recorded %+v, lost %+v", s, l.List())
	}
}

func TestEventsOfDeletedSegmentsCountAsLost(t *testing.T) {
	committer, _, losses := testCommitter(t)
	commitOne(committer, losses)
	commitOne(committer, losses)
	committer.lose(loss.SegmentDeleted, loss.Count{Hits: 1, Events: 1})
	if got := losses.List(); len(got) != 1 || got[0] != (loss.Loss{Reason: loss.SegmentDeleted, Hits: 1, Events: 1}) || losses.Pending() {
		t.Errorf("losses %+v, not in the log: %v", got, losses.Pending())
	}
	if s := committer.counts(); s.hits != 1 || s.events != 1 {
		t.Errorf("recorded %+v, want one hit of two", s)
	}
}

func TestFollowersAreNotifiedOfChunksInOrder(t *testing.T) {
	f := newFeed()
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan uint64, 10)
	ended := make(chan error, 1)
	go func() {
		ended <- f.follow(ctx, func(p logstore.Position) error { got <- p.Cursor.Sequence; return nil })
	}()
	for !f.has(1) {
		time.Sleep(time.Millisecond)
	}
	for n := range uint64(3) {
		f.publish(logstore.Position{Cursor: logstore.Cursor{Sequence: n}})
	}
	for n := range uint64(3) {
		if s := <-got; s != n {
			t.Errorf("notified of %d, want %d", s, n)
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
	if f.has(1) {
		t.Error("the follower was not removed")
	}
}

func (f *feed) has(n int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.followers) == n
}

func TestASlowFollowerIsNotifiedThatItLags(t *testing.T) {
	f := newFeed()
	blocked, release := make(chan struct{}), make(chan struct{})
	ended := make(chan error, 1)
	var once sync.Once
	go func() {
		ended <- f.follow(t.Context(), func(logstore.Position) error {
			once.Do(func() { close(blocked) })
			<-release
			return nil
		})
	}()
	for !f.has(1) {
		time.Sleep(time.Millisecond)
	}
	f.publish(logstore.Position{})
	<-blocked
	for range feedLength + 1 {
		f.publish(logstore.Position{})
	}
	close(release)
	if err := <-ended; !errors.Is(err, ErrLagging) {
		t.Errorf("ended with %v, want ErrLagging", err)
	}
}

func TestCallbacksRunInOrderAfterTheirBatch(t *testing.T) {
	c, store, l := testCommitter(t)
	var calls []string
	b := c.Batch()
	b.Then = append(b.Then, func() { calls = append(calls, "first") }, func() { calls = append(calls, "second") })
	c.Put(b)
	commitOne(c, l) // later, by the same goroutine
	if !slices.Equal(calls, []string{"first", "second"}) || len(store.entries) != 1 {
		t.Errorf("calls %q, %d batches", calls, len(store.entries))
	}
}

func TestLatenciesFallIntoTheirBuckets(t *testing.T) {
	var h histogram
	for _, d := range []time.Duration{0, time.Millisecond, 3 * time.Millisecond, time.Hour} {
		h.add(d)
	}
	l := h.status()
	if l.Counts[0] != 2 || l.Counts[2] != 1 || l.Counts[len(l.Counts)-1] != 1 {
		t.Errorf("counts %v", l.Counts)
	}
	if l.Sum != time.Hour+4*time.Millisecond {
		t.Errorf("sum %v", l.Sum)
	}
}
