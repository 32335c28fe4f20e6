// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"syscall"
	"testing"
	"time"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
)

// refusingStore takes what it is told to, and commits at once. It stands for
// the disk, which does not fail on request.
type refusingStore struct {
	mu        sync.Mutex
	err       error
	sequence  uint64
	committed func(logstore.Position)
	entries   [][]byte
	// durable, if not nil, is what a new segment waits for.
	durable chan struct{}
}

func (s *refusingStore) Append(b logstore.Batch) (logstore.Position, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return logstore.Position{}, s.err
	}
	s.sequence += uint64(b.Count)
	s.entries = append(s.entries, append([]byte(nil), b.Entries...))
	p := logstore.Position{Cursor: logstore.Cursor{Sequence: s.sequence}}
	s.committed(p)
	return p, nil
}

func (s *refusingStore) Flush() (logstore.Cursor, error) {
	return logstore.Cursor{Sequence: s.sequence}, nil
}

func (s *refusingStore) BeginSegment() (string, func() error, error) {
	return "next", func() error {
		if s.durable != nil {
			<-s.durable
		}
		return nil
	}, nil
}

func (s *refusingStore) refuse(err error) {
	s.mu.Lock()
	s.err = err
	s.mu.Unlock()
}

func testCommitter(t *testing.T) (*committer, *refusingStore, *losses) {
	t.Helper()
	l := &losses{}
	c := newCommitter(l, slog.New(slog.DiscardHandler))
	s := &refusingStore{committed: c.committed}
	c.store = s
	ended := start(c.run)
	t.Cleanup(func() {
		c.finish()
		<-ended
	})
	return c, s, l
}

// commitOne puts a batch of one group through the committer and waits for it.
func commitOne(c *committer, l *losses) {
	b := c.get()
	b.entries = event.Append(b.entries, &event.Group{Start: 5, End: 6, Events: []event.Event{{Key: []byte("k")}}})
	b.count, b.hits, b.events = 1, 1, 1
	b.span(5, 6)
	b.starts = append(b.starts, 5)
	l.record(b, 100)
	answer := make(chan flushed, 1)
	b.requests = append(b.requests, request{kind: flushRequest, answer: answer})
	c.put(b)
	<-answer
}

func TestRefusedBatchesAreCountedByReasonAndToldLater(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		want Reason
	}{
		"slow disk":   {&logstore.FullError{}, QueueFull},
		"full disk":   {&logstore.FullError{Err: syscall.ENOSPC}, DiskFull},
		"quota":       {&logstore.FullError{Err: syscall.EDQUOT}, DiskFull},
		"broken disk": {&logstore.FullError{Err: syscall.EIO}, WriteFailed},
		"other":       {errors.New("other"), WriteFailed},
	} {
		t.Run(name, func(t *testing.T) {
			committer, store, losses := testCommitter(t)
			store.refuse(c.err)
			commitOne(committer, losses)
			commitOne(committer, losses)
			if got := losses.list(); len(got) != 1 || got[0] != (Loss{c.want, 2, 2}) {
				t.Fatalf("losses %+v", got)
			}
			if !losses.pending() {
				t.Error("the log is thought to tell of it")
			}
			store.refuse(nil)
			commitOne(committer, losses)
			if losses.pending() {
				t.Error("the log does not tell of it")
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
				t.Errorf("the log says %+v", l)
			}
			if s := committer.counts(); s.hits != 1 || s.events != 1 || s.groups != 1 {
				t.Errorf("recorded %+v", s)
			}
		})
	}
}

func TestWhatIsGoneFromTheLogIsCountedAsLostAndNotAsRecorded(t *testing.T) {
	committer, _, losses := testCommitter(t)
	commitOne(committer, losses)
	commitOne(committer, losses)
	committer.lose(SegmentDeleted, loss{1, 1})
	if got := losses.list(); len(got) != 1 || got[0] != (Loss{SegmentDeleted, 1, 1}) || losses.pending() {
		t.Errorf("losses %+v, not in the log: %v", got, losses.pending())
	}
	if s := committer.counts(); s.hits != 1 || s.events != 1 {
		t.Errorf("recorded %+v, want one hit of two", s)
	}
}

func TestADiskThatHangsInRotationHoldsUpNothingElse(t *testing.T) {
	committer, store, losses := testCommitter(t)
	store.durable = make(chan struct{})
	rotated := make(chan flushed, 1)
	b := committer.get()
	b.requests = append(b.requests, request{kind: rotateRequest, answer: rotated})
	committer.put(b)
	for range 2 * queueLength {
		commitOne(committer, losses)
	}
	select {
	case f := <-rotated:
		t.Fatalf("the rotation was answered before it was durable: %+v", f)
	default:
	}
	close(store.durable)
	if f := <-rotated; f.segment != "next" || f.err != nil {
		t.Errorf("the rotation was answered with %+v", f)
	}
}

func TestFollowersAreToldOfChunksInOrder(t *testing.T) {
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
			t.Errorf("told of %d, want %d", s, n)
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
	if f.has(1) {
		t.Error("the follower is still there")
	}
}

func (f *feed) has(n int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.followers) == n
}

func TestAFollowerThatDoesNotKeepUpIsToldSo(t *testing.T) {
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

func TestAnAnswerComesFromTheCommitter(t *testing.T) {
	c, _, _ := testCommitter(t)
	b := c.get()
	alive, rotated := make(chan flushed, 1), make(chan flushed, 1)
	b.requests = append(b.requests, request{aliveRequest, alive}, request{rotateRequest, rotated})
	c.put(b)
	if f := <-alive; f.err != nil {
		t.Error(f.err)
	}
	if f := <-rotated; f.err != nil || f.segment != "next" {
		t.Errorf("rotated to %q, %v", f.segment, f.err)
	}
}

func TestLatenciesFallIntoTheirBuckets(t *testing.T) {
	var h histogram
	for _, d := range []time.Duration{0, time.Millisecond, 3 * time.Millisecond, time.Hour} {
		h.add(d)
	}
	l := h.latency()
	if l.Counts[0] != 2 || l.Counts[2] != 1 || l.Counts[len(l.Counts)-1] != 1 {
		t.Errorf("counts %v", l.Counts)
	}
	if l.Sum != time.Hour+4*time.Millisecond {
		t.Errorf("sum %v", l.Sum)
	}
}
