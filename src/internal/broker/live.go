// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"slices"
	"sort"
	"sync"

	"crypto-auditing/src/internal/logstore"
)

const (
	// ringBytes bounds the groups that are kept in memory for subscriptions that
	// are a little behind. Who is further behind reads the log.
	ringBytes = 16 << 20
	// ringBlocks bounds their number of chunks.
	ringBlocks = 4096
)

// live holds the newest groups that somebody wants, in their form: those of
// the entries behind low up to high.
type live struct {
	mu        sync.Mutex
	store     [16]byte
	low, high uint64
	// opened says that the tail has found the log.
	opened bool
	blocks []*block
	size   int

	// classes are those of attached subscriptions; changed says that the tail
	// has not yet taken over how they are now.
	classes map[string]*class
	changed bool
}

// block is what came of a chunk. It does not change.
type block struct {
	// last is the last entry of the chunk.
	last   uint64
	groups []byte
	// pieces tell for every class which groups are its own.
	pieces map[*class][]piece
	// gap is set instead if entries are missing up to last.
	gap *Gap
}

// piece is a group in a block.
type piece struct {
	sequence uint64
	from, to uint32
}

func newLive() *live { return &live{classes: map[string]*class{}} }

// join adds a subscription to the class of its filter.
func (l *live) join(s *Subscription) *class {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.classes[s.filter.key]
	if c == nil {
		c = &class{filter: s.filter, members: map[*Subscription]struct{}{}}
		l.classes[s.filter.key] = c
		l.changed = true
	}
	c.members[s] = struct{}{}
	return c
}

// leave takes a subscription from its class.
func (l *live) leave(s *Subscription, c *class) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(c.members, s)
	if len(c.members) == 0 && l.classes[c.filter.key] == c {
		delete(l.classes, c.filter.key)
		l.changed = true
	}
}

// restart begins anew at a position, with nothing in memory.
func (l *live) restart(at logstore.Cursor) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.store, l.low, l.high, l.opened = at.Store, at.Sequence, at.Sequence, true
	l.blocks, l.size = nil, 0
	for _, c := range l.classes {
		c.joined, c.seen = false, 0
	}
	l.changed = true
}

// takeOver returns a new index if the classes have changed. What the tail reads
// from now on is decided for all of them.
func (l *live) takeOver() *index {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.changed {
		return nil
	}
	l.changed = false
	for _, c := range l.classes {
		if !c.joined {
			c.joined, c.since = true, l.high
			wakeAll(c.members)
		}
	}
	return newIndex(l.classes)
}

func wakeAll(members map[*Subscription]struct{}) {
	for s := range members {
		s.wake()
	}
}

// add appends what came of a chunk and wakes those whom it concerns.
func (l *live) add(b *block) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.high = b.last
	if len(b.pieces) == 0 && b.gap == nil {
		return
	}
	l.blocks = append(l.blocks, b)
	l.size += len(b.groups)
	old := 0
	for ; old < len(l.blocks)-1 && (l.size > ringBytes || len(l.blocks)-old > ringBlocks); old++ {
		l.low = l.blocks[old].last
		l.size -= len(l.blocks[old].groups)
	}
	if old > 0 {
		// Those who take look at the old array without the lock, and what is
		// left in it must not stay in memory.
		l.blocks = slices.Clone(l.blocks[old:])
	}
	if b.gap != nil {
		for _, c := range l.classes {
			wakeAll(c.members)
		}
		return
	}
	for c := range b.pieces {
		wakeAll(c.members)
	}
}

// advance notes that there is nothing for anybody up to a position.
func (l *live) advance(to uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.high = max(l.high, to)
}

// newest returns the position of the tail; ok is false if it has found no log.
func (l *live) newest() (c logstore.Cursor, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return logstore.Cursor{Store: l.store, Sequence: l.high}, l.opened
}

// take moves groups of a class that are behind position into w, as far as it
// has room, and returns the new position. ok is false if they are not, or not
// all, in memory. Where entries are missing it stops and returns the gap.
func (l *live) take(c *class, position logstore.Cursor, w *window) (to uint64, gap *Gap, ok bool) {
	l.mu.Lock()
	blocks, high := l.blocks, l.high
	ok = l.covers(c, position)
	l.mu.Unlock()
	if !ok {
		return position.Sequence, nil, false
	}
	at := position.Sequence
	first := sort.Search(len(blocks), func(i int) bool { return blocks[i].last > at })
	for _, b := range blocks[first:] {
		if b.gap != nil {
			if w.count > 0 {
				return at, nil, true
			}
			return b.last, b.gap, true
		}
		pieces := b.pieces[c]
		i := sort.Search(len(pieces), func(i int) bool { return pieces[i].sequence > at })
		for _, p := range pieces[i:] {
			if !w.add(b.groups[p.from:p.to], p.sequence) {
				return at, nil, true
			}
			at = p.sequence
		}
		at = b.last
	}
	return max(at, high), nil, true
}

// window is what is sent at once.
type window struct {
	groups []byte
	count  int
	// last is the sequence of the last group.
	last uint64
	// most and size bound it.
	most, size int
	full       bool
}

// add appends a group, unless there is no room for it.
func (w *window) add(group []byte, sequence uint64) bool {
	if w.full || w.count > 0 && len(w.groups)+len(group) > w.size {
		w.full = true
		return false
	}
	w.groups = append(w.groups, group...)
	w.added(sequence)
	return true
}

// added notes that a group was appended.
func (w *window) added(sequence uint64) {
	w.count++
	w.last = sequence
	w.full = w.count >= w.most || len(w.groups) >= w.size
}

func (w *window) reset() {
	const keep = 64 << 10 // what most windows need; more is given back
	if cap(w.groups) > keep {
		w.groups = nil
	}
	w.groups, w.count, w.last, w.full = w.groups[:0], 0, 0, false
}

// settled returns the position up to which there is nothing for a class behind
// another one.
func (l *live) settled(c *class, position logstore.Cursor) logstore.Cursor {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c == nil || !l.covers(c, position) || position.Sequence >= l.high {
		return position
	}
	first := sort.Search(len(l.blocks), func(i int) bool { return l.blocks[i].last > position.Sequence })
	for _, b := range l.blocks[first:] {
		pieces := b.pieces[c]
		if b.gap != nil || len(pieces) > 0 && pieces[len(pieces)-1].sequence > position.Sequence {
			return position
		}
		position.Sequence = b.last
	}
	position.Sequence = l.high
	return position
}

// covers reports whether all groups of a class behind a position are in
// memory. The caller holds mu.
func (l *live) covers(c *class, position logstore.Cursor) bool {
	return l.opened && c.joined && position.Store == l.store && position.Sequence >= max(l.low, c.since)
}

// holds is covers for those who do not hold mu.
func (l *live) holds(c *class, position logstore.Cursor) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.covers(c, position)
}
