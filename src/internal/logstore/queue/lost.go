// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"path/filepath"
)

// LostReason is the reason why written entries are no longer in the store.
type LostReason int

// The reasons.
const (
	// SegmentDeleted: another program deleted or moved the active segment or its
	// directory.
	SegmentDeleted LostReason = iota
	// NotDurable: a sync failed, and the written entries cannot be read back.
	NotDurable
)

// Lost describes entries that were written and are no longer in the store.
type Lost struct {
	Reason LostReason
	// First and Last are the first and last sequence.
	First, Last uint64
	// Hits and Events are the sums of the values passed to Append.
	Hits, Events uint64
	// Since and Until are the bounds of the times of the entries, in nanoseconds since
	// boot.
	Since, Until uint64
	// Segment is the file name.
	Segment string
	// Directory, with SegmentDeleted, reports whether the whole directory was
	// removed or replaced.
	Directory bool
	// Err, with NotDurable, is the reason why they cannot be read back.
	Err error
}

// tally sums up written chunks.
type tally struct {
	first, last  uint64 // sequences; first is 0 if there are none
	hits, events uint64
	since, until uint64
}

func (t *tally) add(c *Chunk) {
	if t.first == 0 {
		t.first, t.since = c.Position.First, c.Since
	}
	t.last = c.last()
	t.hits += c.Hits
	t.events += uint64(c.Events)
	t.since, t.until = min(t.since, c.Since), max(t.until, c.Until)
}

func (t *tally) lost(reason LostReason, path string) Lost {
	return Lost{
		Reason: reason, First: t.first, Last: t.last, Hits: t.hits, Events: t.events,
		Since: t.since, Until: t.until, Segment: filepath.Base(path),
	}
}

// displaced reports whether the active segment is no longer in the directory of the store.
// If so, the queue abandons it, and Options.Displaced has queued the next one.
func (q *Queue) displaced() (bool, error) {
	if q.file == nil {
		return false, nil
	}
	in, err := q.file.Is(q.path)
	if in || err != nil {
		return false, err
	}
	// An error about a file without a name does not matter.
	_ = q.file.Close()
	lost := q.inSegment.lost(SegmentDeleted, q.path)
	q.file, q.path = nil, ""
	q.end, q.part, q.synced = 0, 0, 0
	q.rewrite, q.unsettled = false, false
	q.inSegment, q.unproven = tally{}, tally{}
	q.mu.Lock()
	q.durable = min(q.durable, lost.First-1)
	q.mu.Unlock()
	q.opts.Displaced(lost)
	return true, nil
}

// Withdraw removes all unwritten chunks from the queue and returns them in order.
func (q *Queue) Withdraw() []Chunk {
	q.mu.Lock()
	defer q.mu.Unlock()
	chunks := q.chunks
	q.chunks, q.bytes = nil, 0
	return chunks
}
