// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"crypto-auditing/src/internal/boottime"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/loss"
	"crypto-auditing/src/internal/message"
	"crypto-auditing/src/internal/pipeline/window"
)

// queueLength is the number of batches, of up to logstore.MaxBatch bytes each, between
// the pipeline and the store. The store has a further queue for chunks that wait for the
// disk.
const queueLength = 4

// smallBatch is the largest batch, in bytes of entries, that the pipeline compresses
// itself: that takes less than a millisecond, no more than passing it to another thread
// of an idle machine.
const smallBatch = 64 << 10

// patience is how long a batch waits for a disk that is slow but does not fail.
// Meanwhile hits wait in the ring, where each process has its share, whereas a dropped
// batch affects all processes.
const patience = time.Second

// store is the part of logstore.Writer that the committer uses.
type store interface {
	Append(logstore.Batch) (logstore.Position, error)
}

// committer compresses batches and appends them to the store, small ones in the
// pipeline's goroutine, others in a goroutine of its own. It counts what is in the log,
// as reported by the store through committed.
type committer struct {
	store  store
	losses *loss.Counters
	log    *slog.Logger
	feed   *feed

	patience time.Duration

	full chan *window.Batch
	free chan *window.Batch
	// queued counts batches that were sent to full and are not yet in the store.
	queued atomic.Int32

	// newest is the last committed sequence.
	newest atomic.Uint64

	// segment is the segment of the last batch. segmentBegun, if not nil, is called when the
	// segment changes, and when a batch was refused.
	segment      string
	segmentBegun func()

	// mu guards the fields below. No other lock is acquired while it is held.
	mu sync.Mutex
	// appended are chunks that are not committed yet, oldest first.
	appended []appended
	// spare are arrays of starts for reuse.
	spare [][]uint64
	stats committed
	// lost counts what was in the log and is now counted as lost.
	lost    loss.Count
	failing bool
}

// appended describes the contents of a chunk.
type appended struct {
	sequence     uint64 // the last one in the chunk
	hits, events uint64
	starts       []uint64 // of its groups
}

// committed counts what is in the log.
type committed struct {
	hits, events, groups, chunks uint64
	latency                      histogram
}

func newCommitter(l *loss.Counters, log *slog.Logger) *committer {
	c := &committer{
		losses: l, log: log, feed: newFeed(), patience: patience,
		full: make(chan *window.Batch, queueLength), free: make(chan *window.Batch, queueLength),
	}
	for range queueLength {
		c.free <- &window.Batch{}
	}
	return c
}

// Batch implements pipeline.Sink.
func (c *committer) Batch() *window.Batch {
	b := <-c.free
	b.Reset()
	return b
}

// Put implements pipeline.Sink.
func (c *committer) Put(b *window.Batch) {
	if len(b.Entries) <= smallBatch && c.queued.Load() == 0 {
		c.take(b)
		return
	}
	c.queued.Add(1)
	c.full <- b
}

// Close implements pipeline.Sink.
func (c *committer) Close() { close(c.full) }

// run processes batches until Close was called and every batch was appended or refused.
func (c *committer) run() {
	for b := range c.full {
		c.take(b)
		c.queued.Add(-1)
	}
}

// take appends a batch to the store and makes the batch's calls.
func (c *committer) take(b *window.Batch) {
	if !b.Empty() {
		c.append(b)
	} else if b.Hits > 0 {
		// The hits had no values, so there is nothing to write.
		c.mu.Lock()
		c.stats.hits += b.Hits
		c.mu.Unlock()
	}
	for _, call := range b.Then {
		call()
	}
	c.free <- b
}

// offer appends a batch to the store and retries while the store's queue is full.
func (c *committer) offer(b *window.Batch) (logstore.Position, error) {
	const pause = 5 * time.Millisecond
	for began := time.Now(); ; time.Sleep(pause) {
		position, err := c.store.Append(b.Batch)
		var full *logstore.FullError
		if !errors.As(err, &full) || full.Err != nil || time.Since(began) >= c.patience {
			return position, err
		}
	}
}

func (c *committer) append(b *window.Batch) {
	position, err := c.offer(b)
	if err != nil {
		c.refused(b, err)
		return
	}
	if c.segmentBegun != nil && c.segment != "" && position.Segment != c.segment {
		c.segmentBegun()
	}
	c.segment = position.Segment
	c.mu.Lock()
	if c.failing {
		c.failing = false
		message.LogRecovered.Log(c.log)
	}
	c.appended = append(c.appended, appended{
		sequence: position.Cursor.Sequence, hits: b.Hits, events: uint64(b.Events),
		starts: append(c.unused(), b.Starts...),
	})
	c.settle(boottime.Now())
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

// refused counts a batch that the store did not accept as lost.
func (c *committer) refused(b *window.Batch, err error) {
	reason := loss.WriteFailed
	var full *logstore.FullError
	if errors.As(err, &full) {
		reason = loss.QueueFull
		if full.Err != nil {
			reason = reasonOf(full.Err)
		}
	}
	c.losses.Restore(b.Losses, b.Unrecorded)
	if c.segmentBegun != nil {
		// The batch may have contained names of libraries.
		c.segmentBegun()
	}
	c.losses.Add(reason, loss.Count{Hits: b.Hits, Events: uint64(b.Events)}, b.First)
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.failing {
		c.failing = true
		failed := message.WriteFailed
		if reason == loss.DiskFull {
			failed = message.DiskFull
		}
		failed.Log(c.log, "reason", reason, "error", err)
	}
}

// reasonOf distinguishes a full disk from other failures.
func reasonOf(err error) loss.Reason {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return loss.DiskFull
	}
	return loss.WriteFailed
}

// committed is called by the store for every chunk written to the page cache, possibly
// before append knows the sequence of the chunk.
func (c *committer) committed(p logstore.Position) {
	at := boottime.Now()
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

// lose counts entries that were in the log and no longer are.
func (c *committer) lose(reason loss.Reason, n loss.Count) {
	c.losses.AddRecorded(reason, n)
	c.mu.Lock()
	c.lost.Add(n)
	c.mu.Unlock()
}

// abandon counts the chunks that were never committed after the store was closed.
func (c *committer) abandon(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settle(boottime.Now())
	for _, a := range c.appended {
		c.losses.Add(reasonOf(err), loss.Count{Hits: a.hits, Events: a.events}, 0)
	}
	c.appended = nil
}

// counts returns counts of what is in the log.
func (c *committer) counts() committed {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stats
	// Lost entries may not be counted as recorded yet (settle).
	s.hits -= min(s.hits, c.lost.Hits)
	s.events -= min(s.events, c.lost.Events)
	s.latency = s.latency.clone()
	return s
}
