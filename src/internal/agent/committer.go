// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/probe"
)

const (
	// queueLength bounds what waits for the disk, in batches of up to
	// logstore.MaxBatch bytes.
	queueLength = 16
	// retryFull is how long to wait for room on a full disk.
	retryFull = 200 * time.Millisecond
	// stopFull is how long to wait for it when the agent is to stop.
	stopFull = 2 * time.Second
)

// store is what the committer needs of logstore.Writer.
type store interface {
	Append(logstore.Batch) (logstore.Position, error)
	Flush() (logstore.Cursor, error)
	Rotate() (string, error)
}

// committer appends batches to the store, in its own goroutine, so that a slow
// disk does not keep the pipeline from the ring.
type committer struct {
	store  store
	losses *losses
	log    *slog.Logger
	// interval is how long a committed batch may stay not durable.
	interval time.Duration

	full chan *batch
	// returned has an element while a batch may be free.
	returned chan struct{}
	mu       sync.Mutex
	// free is a stack, so that the buffers in use are the same few. made
	// counts all batches, free or not.
	free []*batch
	made int

	// waiting is set while the disk has no room.
	waiting atomic.Bool
	// stopping is set when no more batches come.
	stopping atomic.Bool

	stats committed
}

// committed counts what is in the log.
type committed struct {
	hits, events, groups, chunks atomic.Uint64
}

func newCommitter(s store, l *losses, log *slog.Logger, interval time.Duration) *committer {
	return &committer{
		store: s, losses: l, log: log, interval: interval,
		full: make(chan *batch, queueLength), returned: make(chan struct{}, 1),
	}
}

// get returns a batch to fill, for the pipeline. While none is free it waits,
// as long as the ring can take what is probed meanwhile; then it returns nil.
func (c *committer) get(ring *probe.Ring) *batch {
	for {
		if b := c.pop(); b != nil {
			return b
		}
		if ring.Waiting() > ring.Size()/2 {
			return nil
		}
		select {
		case <-c.returned:
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (c *committer) pop() *batch {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.free); n > 0 {
		b := c.free[n-1]
		c.free = c.free[:n-1]
		return b
	}
	if c.made == queueLength {
		return nil
	}
	c.made++
	return &batch{}
}

// release makes a batch free.
func (c *committer) release(b *batch) {
	b.reset()
	c.mu.Lock()
	c.free = append(c.free, b)
	c.mu.Unlock()
	select {
	case c.returned <- struct{}{}:
	default:
	}
}

// put queues a filled batch. A batch from get always has a place.
func (c *committer) put(b *batch) { c.full <- b }

// finish says that no more batches come.
func (c *committer) finish() {
	c.stopping.Store(true)
	close(c.full)
}

// obstacle is the reason why batches are not taken.
func (c *committer) obstacle() Reason {
	if c.waiting.Load() {
		return DiskFull
	}
	return QueueFull
}

// drop counts a batch that does not get into the log.
func (c *committer) drop(b *batch, r Reason) {
	c.losses.untell(b)
	c.losses.add(r, loss{b.hits, b.events}, b.first)
}

// run works until finish was called and everything is committed.
func (c *committer) run() {
	var due <-chan time.Time
	for {
		select {
		case b, ok := <-c.full:
			if !ok {
				return
			}
			if c.commit(b) && due == nil {
				due = time.After(c.interval)
			}
			c.release(b)
		case <-due:
			due = nil
			if _, err := c.store.Flush(); err != nil {
				c.log.Error("syncing the log", "error", err)
			}
		}
	}
}

// commit appends a batch and answers its requests. It reports whether
// something was appended that may not be durable.
func (c *committer) commit(b *batch) (appended bool) {
	if !b.empty() {
		appended = c.append(b)
	}
	for _, r := range b.requests {
		var f flushed
		f.cursor, f.err = c.store.Flush()
		if f.err == nil && r.rotate {
			f.segment, f.err = c.store.Rotate()
		}
		r.answer <- f
	}
	return appended
}

func (c *committer) append(b *batch) bool {
	stop := time.Time{}
	for {
		_, err := c.store.Append(logstore.Batch{
			Entries: b.entries, Count: b.count, Events: uint32(b.events),
			First: b.first, Last: b.last, Lost: b.lost, Terms: b.terms, Notice: b.notice,
		})
		if err == nil {
			if c.waiting.Swap(false) {
				c.log.Warn("the disk has room again: recording goes on")
			}
			c.stats.hits.Add(b.hits)
			c.stats.events.Add(b.events)
			c.stats.groups.Add(uint64(b.count) - uint64(len(b.told)))
			c.stats.chunks.Add(1)
			return true
		}
		if !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EDQUOT) {
			c.log.Error("writing the log", "error", err, "lost_events", b.events)
			c.drop(b, WriteFailed)
			return false
		}
		if !c.waiting.Swap(true) {
			c.log.Error("the disk is full: events are kept for a moment, then dropped and counted", "error", err)
		}
		if c.stopping.Load() {
			if stop.IsZero() {
				stop = time.Now().Add(stopFull)
			} else if time.Now().After(stop) {
				c.drop(b, DiskFull)
				return false
			}
		}
		time.Sleep(retryFull)
	}
}
