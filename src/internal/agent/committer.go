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
	"crypto-auditing/src/internal/message"
)

// queueLength is how many batches may be between the pipeline and the store,
// of up to logstore.MaxBatch bytes each. Behind it is the store's own queue,
// where chunks wait for the disk.
const queueLength = 4

// store is what the committer needs of logstore.Writer.
type store interface {
	Append(logstore.Batch) (logstore.Position, error)
	Flush() (logstore.Cursor, error)
	BeginSegment() (name string, durable func() error, err error)
}

// committer compresses batches and appends them to the store, in its own
// goroutine, beside the pipeline's. It counts what is in the log: that is what
// the store has told of, by committed.
type committer struct {
	store  store
	losses *losses
	log    *slog.Logger
	feed   *feed

	full chan *batch
	free chan *batch

	// newest is the last committed sequence.
	newest atomic.Uint64

	// mu guards what follows. Nothing else is locked while it is held.
	mu sync.Mutex
	// appended are chunks that are on their way to the disk, oldest first.
	appended []appended
	// spare are used arrays of starts.
	spare [][]uint64
	stats committed
	// gone was in the log, and is counted as lost now.
	gone    loss
	failing bool
}

// appended is what a chunk holds.
type appended struct {
	sequence     uint64 // its last
	hits, events uint64
	starts       []uint64 // of its groups
}

// committed counts what is in the log.
type committed struct {
	hits, events, groups, chunks uint64
	latency                      histogram
}

func newCommitter(l *losses, log *slog.Logger) *committer {
	c := &committer{
		losses: l, log: log, feed: newFeed(),
		full: make(chan *batch, queueLength), free: make(chan *batch, queueLength),
	}
	for range queueLength {
		c.free <- &batch{}
	}
	return c
}

// get returns a batch to fill, for the pipeline. It waits for one: what is
// probed meanwhile is in the ring.
func (c *committer) get() *batch {
	b := <-c.free
	b.reset()
	return b
}

// put queues a filled batch.
func (c *committer) put(b *batch) { c.full <- b }

// finish says that no more batches come.
func (c *committer) finish() { close(c.full) }

// run works until finish was called and every batch is with the store.
func (c *committer) run() {
	for b := range c.full {
		if !b.empty() {
			c.append(b)
		} else if b.hits > 0 {
			// They gave no values: there is nothing to write of them.
			c.mu.Lock()
			c.stats.hits += b.hits
			c.mu.Unlock()
		}
		c.answer(b)
		c.free <- b
	}
}

// answer makes durable what the requests of a batch ask for. The disk may take
// its time; what comes later need not wait for it.
func (c *committer) answer(b *batch) {
	for _, r := range b.requests {
		switch r.kind {
		case aliveRequest:
			r.answer <- flushed{}
		case rotateRequest:
			// Here, so that the next batch is in the new segment.
			segment, durable, err := c.store.BeginSegment()
			if err != nil {
				r.answer <- flushed{err: err}
				continue
			}
			go func() { r.answer <- flushed{segment: segment, err: durable()} }()
		case flushRequest:
			go func() {
				cursor, err := c.store.Flush()
				r.answer <- flushed{cursor: cursor, err: err}
			}()
		}
	}
}

func (c *committer) append(b *batch) {
	position, err := c.store.Append(logstore.Batch{
		Entries: b.entries, Count: b.count, Events: uint32(b.events), Hits: b.hits,
		First: b.first, Last: b.last, Lost: b.lost, Terms: b.terms, Notice: b.notice,
	})
	if err != nil {
		c.refused(b, err)
		return
	}
	c.mu.Lock()
	if c.failing {
		c.failing = false
		message.LogRecovered.Log(c.log)
	}
	c.appended = append(c.appended, appended{
		sequence: position.Cursor.Sequence, hits: b.hits, events: b.events,
		starts: append(c.unused(), b.starts...),
	})
	c.settle(now())
	c.mu.Unlock()
}

// unused returns an empty array for starts. The caller holds mu.
func (c *committer) unused() []uint64 {
	n := len(c.spare)
	if n == 0 {
		return nil
	}
	s := c.spare[n-1]
	c.spare = c.spare[:n-1]
	return s
}

// refused counts a batch that the store did not take.
func (c *committer) refused(b *batch, err error) {
	reason := WriteFailed
	var full *logstore.FullError
	if errors.As(err, &full) {
		reason = QueueFull
		if full.Err != nil {
			reason = reasonOf(full.Err)
		}
	}
	c.losses.untell(b)
	c.losses.add(reason, loss{b.hits, b.events}, b.first)
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.failing {
		c.failing = true
		failed := message.WriteFailed
		if reason == DiskFull {
			failed = message.DiskFull
		}
		failed.Log(c.log, "reason", reason, "error", err)
	}
}

// reasonOf tells a full disk from other failures.
func reasonOf(err error) Reason {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return DiskFull
	}
	return WriteFailed
}

// committed is told by the store of every chunk that is in the page cache. It
// may come before append knows the chunk's sequence.
func (c *committer) committed(p logstore.Position) {
	at := now()
	c.newest.Store(p.Cursor.Sequence)
	c.mu.Lock()
	c.settle(at)
	c.mu.Unlock()
	c.feed.publish(p)
}

// settle counts the chunks that are committed. The caller holds mu.
func (c *committer) settle(at uint64) {
	done := 0
	for ; done < len(c.appended) && c.appended[done].sequence <= c.newest.Load(); done++ {
		a := &c.appended[done]
		c.stats.hits += a.hits
		c.stats.events += a.events
		c.stats.groups += uint64(len(a.starts))
		c.stats.chunks++
		for _, start := range a.starts {
			c.stats.latency.add(time.Duration(at - start))
		}
		c.spare = append(c.spare, a.starts[:0])
		*a = appended{}
	}
	c.appended = c.appended[done:]
}

// lose counts what was in the log and is not any more.
func (c *committer) lose(reason Reason, n loss) {
	c.losses.addRecorded(reason, n)
	c.mu.Lock()
	c.gone.add(n)
	c.mu.Unlock()
}

// abandon counts what never got to the disk, when the store was closed.
func (c *committer) abandon(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settle(now())
	for _, a := range c.appended {
		c.losses.add(reasonOf(err), loss{a.hits, a.events}, 0)
	}
	c.appended = nil
}

// counts returns what is in the log.
func (c *committer) counts() committed {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stats
	// What is lost may not be counted as recorded yet (settle).
	s.hits -= min(s.hits, c.gone.hits)
	s.events -= min(s.events, c.gone.events)
	s.latency = s.latency.clone()
	return s
}
