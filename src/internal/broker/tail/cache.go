// SPDX-License-Identifier: Apache-2.0

package tail

import (
	"maps"
	"slices"
	"sort"
	"strings"
	"sync"

	"crypto-auditing/src/internal/broker/filter"
	"crypto-auditing/src/internal/broker/reading"
	"crypto-auditing/src/internal/logstore"
)

// Subscriber is notified when there may be groups for it. It must not block.
type Subscriber interface{ Wake() }

// Feed is a filter with all attached subscribers that use it: the receivers of a
// group are determined once for all of them.
type Feed struct {
	filter *filter.Filter
	// since is the position from which the tail applies the feed's filter. Like
	// members it is guarded by Cache.mu; joined is set once since is valid.
	since   uint64
	joined  bool
	members map[Subscriber]struct{}
}

// Filter is the filter of its subscribers.
func (f *Feed) Filter() *filter.Filter { return f.filter }

// index finds the feeds that an entry may match. It belongs to the tail.
type index struct {
	*filter.Index
	feeds []*Feed
}

// AppendPiece appends a piece, whose bytes are in bytes. It joins the pieces of one entry, because a
// cursor cannot separate them.
func AppendPiece(pieces []Piece, bytes []byte, p Piece) (_ []Piece, _ []byte) {
	n := len(pieces)
	if n == 0 || pieces[n-1].Sequence != p.Sequence {
		return append(pieces, p), bytes
	}
	before := &pieces[n-1]
	if before.To != p.From {
		// Another piece is in between.
		from := len(bytes)
		bytes = append(append(bytes, bytes[before.From:before.To]...), bytes[p.From:p.To]...)
		before.From, p.To = uint32(from), uint32(len(bytes))
	}
	before.To = p.To
	return pieces, bytes
}

func newIndex(feeds []*Feed) *index {
	slices.SortFunc(feeds, func(a, b *Feed) int { return strings.Compare(a.filter.Key, b.filter.Key) })
	filters := make([]*filter.Filter, len(feeds))
	for i, f := range feeds {
		filters[i] = f.filter
	}
	return &index{filter.NewIndex(filters), feeds}
}

const (
	// ringBytes bounds the size of the cached groups, for subscriptions that lag
	// slightly. Those that lag further read the log.
	ringBytes = 16 << 20
	// ringBlocks bounds the number of cached chunks.
	ringBlocks = 4096
)

// Cache holds the newest groups that match a feed, in their encoded form: those of
// the entries after low and up to high.
type Cache struct {
	mu        sync.Mutex
	store     [16]byte
	low, high uint64
	// opened is set once the tail has opened the log.
	opened bool
	blocks []*block
	size   int
	most   int // bytes

	// feeds are the feeds of attached subscriptions; changed is set until the tail
	// has applied a change of them.
	feeds   map[string]*Feed
	changed bool
}

// block is the cached content of a chunk. It is immutable.
type block struct {
	// last is the sequence of the chunk's last entry.
	last   uint64
	groups []byte
	// pieces are the groups that match each feed.
	pieces map[*Feed][]Piece
	// gap is set instead if entries up to last are missing.
	gap *reading.Gap
}

// Piece is the range of a group in the encoded groups of a chunk.
type Piece struct {
	Sequence uint64
	From, To uint32
}

// NewCache returns an empty cache without a position, for the given number of bytes.
func NewCache(most int) *Cache { return &Cache{most: most, feeds: map[string]*Feed{}} }

// Wanted reports whether there are feeds.
func (l *Cache) Wanted() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.feeds) > 0
}

// Close empties the cache, which has no position until Restart.
func (l *Cache) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.opened, l.blocks, l.size = false, nil, 0
}

// Join adds a subscription to the feed of its filter.
func (l *Cache) Join(s Subscriber, f *filter.Filter) *Feed {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.feeds[f.Key]
	if c == nil {
		c = &Feed{filter: f, members: map[Subscriber]struct{}{}}
		l.feeds[f.Key] = c
		l.changed = true
	}
	c.members[s] = struct{}{}
	return c
}

// Leave removes a subscription from its feed.
func (l *Cache) Leave(s Subscriber, c *Feed) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(c.members, s)
	if len(c.members) == 0 && l.feeds[c.filter.Key] == c {
		delete(l.feeds, c.filter.Key)
		l.changed = true
	}
}

// Restart empties the cache and continues at a position.
func (l *Cache) Restart(at logstore.Cursor) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.store, l.low, l.high, l.opened = at.Store, at.Sequence, at.Sequence, true
	l.blocks, l.size = nil, 0
	for _, c := range l.feeds {
		c.joined = false
	}
	l.changed = true
}

// takeOver returns a new index if the feeds have changed. It applies to everything
// that the tail reads from now on.
func (l *Cache) takeOver() *index {
	feeds, changed := l.Changes()
	if !changed {
		return nil
	}
	return newIndex(feeds)
}

// Changes returns the feeds if they have changed. They apply to everything that is
// appended from now on.
func (l *Cache) Changes() (feeds []*Feed, changed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.changed {
		return nil, false
	}
	l.changed = false
	for _, c := range l.feeds {
		if !c.joined {
			c.joined, c.since = true, l.high
			wakeAll(c.members)
		}
	}
	return slices.Collect(maps.Values(l.feeds)), true
}

func wakeAll(members map[Subscriber]struct{}) {
	for s := range members {
		s.Wake()
	}
}

// Append appends pieces of groups, all up to a position, and wakes the subscribers
// concerned. pieces and groups are retained.
func (l *Cache) Append(to uint64, groups []byte, pieces map[*Feed][]Piece) {
	l.add(&block{last: to, groups: groups, pieces: pieces})
}

// AppendGap appends a gap after the position and wakes all subscribers.
func (l *Cache) AppendGap(gap *reading.Gap) { l.add(&block{last: gap.To.Sequence, gap: gap}) }

// add appends the content of a chunk and wakes the subscribers concerned.
func (l *Cache) add(b *block) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.high = b.last
	if len(b.pieces) == 0 && b.gap == nil {
		return
	}
	l.blocks = append(l.blocks, b)
	l.size += len(b.groups)
	old := 0
	for ; old < len(l.blocks)-1 && (l.size > l.most || len(l.blocks)-old > ringBlocks); old++ {
		l.low = l.blocks[old].last
		l.size -= len(l.blocks[old].groups)
	}
	if old > 0 {
		// Take reads the old array without the lock, so it must not be modified;
		// references left in it would keep blocks in memory.
		l.blocks = slices.Clone(l.blocks[old:])
	}
	if b.gap != nil {
		for _, c := range l.feeds {
			wakeAll(c.members)
		}
		return
	}
	for c := range b.pieces {
		wakeAll(c.members)
	}
}

// advance records that no feed has matches up to a position.
func (l *Cache) advance(to uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.high = max(l.high, to)
}

// Newest returns the position of the tail; ok is false before it has opened a log.
func (l *Cache) Newest() (c logstore.Cursor, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return logstore.Cursor{Store: l.store, Sequence: l.high}, l.opened
}

// Take moves the groups of a feed after position into w while it has room, and
// returns the new position. ok is false if not all of them are cached. Where
// entries are missing it stops and returns the gap.
func (l *Cache) Take(c *Feed, position logstore.Cursor, w *Window) (to uint64, gap *reading.Gap, ok bool) {
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
			if w.Count > 0 {
				return at, nil, true
			}
			return b.last, b.gap, true
		}
		pieces := b.pieces[c]
		i := sort.Search(len(pieces), func(i int) bool { return pieces[i].Sequence > at })
		for _, p := range pieces[i:] {
			if !w.Add(b.groups[p.From:p.To]) {
				return at, nil, true
			}
			at = p.Sequence
		}
		at = b.last
	}
	return max(at, high), nil, true
}

// Window is a set of groups that are sent at once.
type Window struct {
	Groups []byte
	Count  int
	// Most and Size are its limits in groups and bytes.
	Most, Size int
	Full       bool
}

// Add appends a group, unless there is no room for it.
func (w *Window) Add(group []byte) bool {
	if w.Full || w.Count > 0 && len(w.Groups)+len(group) > w.Size {
		w.Full = true
		return false
	}
	w.Groups = append(w.Groups, group...)
	w.Count++
	w.Full = w.Count >= w.Most || len(w.Groups) >= w.Size
	return true
}

func (w *Window) Reset() {
	const keep = 64 << 10 // enough for most windows; larger buffers are released
	if cap(w.Groups) > keep {
		w.Groups = nil
	}
	w.Groups, w.Count, w.Full = w.Groups[:0], 0, false
}

// Settled returns the position up to which a feed has no groups after another
// position.
func (l *Cache) Settled(c *Feed, position logstore.Cursor) logstore.Cursor {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c == nil || !l.covers(c, position) || position.Sequence >= l.high {
		return position
	}
	first := sort.Search(len(l.blocks), func(i int) bool { return l.blocks[i].last > position.Sequence })
	for _, b := range l.blocks[first:] {
		pieces := b.pieces[c]
		if b.gap != nil || len(pieces) > 0 && pieces[len(pieces)-1].Sequence > position.Sequence {
			return position
		}
		position.Sequence = b.last
	}
	position.Sequence = l.high
	return position
}

// covers reports whether all groups of a feed after a position are cached. The
// caller holds mu.
func (l *Cache) covers(c *Feed, position logstore.Cursor) bool {
	return l.opened && c.joined && position.Store == l.store && position.Sequence >= max(l.low, c.since)
}

// Holds is covers for callers that do not hold mu.
func (l *Cache) Holds(c *Feed, position logstore.Cursor) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.covers(c, position)
}
