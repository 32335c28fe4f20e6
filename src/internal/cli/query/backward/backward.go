// SPDX-License-Identifier: Apache-2.0

// Package backward shows a log from its end, page by page, with bounded memory.
package backward

import (
	"cmp"
	"context"
	"math"
	"runtime/debug"
	"slices"
	"time"

	"crypto-auditing/src/internal/cli/around"
	"crypto-auditing/src/internal/cli/output"
	"crypto-auditing/src/internal/cli/progress"
	"crypto-auditing/src/internal/cli/query/viewer"
	"crypto-auditing/src/internal/cli/render"
	"crypto-auditing/src/internal/cli/source"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/schema"
)

// The log is read backwards in pages, each of which is read forwards. firstPage is the
// size of the first page, maxPage the usual maximum, in entries.
const firstPage, maxPage = 2048, 8192

// An operation may have begun before the page in which it is found. It is shown when the
// lookback entries and the lookbackTime before its first entry, or the maxLookback
// entries before it, contain no further part of it.
const (
	lookback     = 4096
	lookbackTime = 2 * time.Second
	maxLookback  = 16384
)

// maxHeld bounds the entries of the operations that are not shown yet, in bytes.
const maxHeld = 8 << 20

// backward shows a log from its end. Its memory is bounded by maxLookback and maxHeld,
// regardless of the size of the log, plus the operations that -n selects.
type backward struct {
	*viewer.Viewer

	source source.Store
	// begin is the position where reading ends; nil: before the oldest entry.
	begin *logstore.Cursor
	// oldest is the position before the oldest entry. skipper finds the parts that need
	// not be read, nil to read everything; skipped reports whether a part was skipped.
	oldest  uint64
	skipper *around.Skipper
	skipped bool
	// from is the position down to which the log has been read, first the sequence of
	// the first entry after it, 0 if there is none.
	from  logstore.Cursor
	first uint64
	whole bool // the whole log has been read
	read  uint64
	start int64 // of the read part, in nanoseconds since the Unix epoch

	// open are the trees that are not shown yet, ordered by their first entry.
	open []tree
	size int // of their entries, in bytes
	// later are the notices that are not shown yet, ordered by their start. unplaced
	// are notices of missing entries whose time depends on entries that are not read
	// yet.
	later    []*render.Notice
	unplaced []unplaced

	found int           // selected trees that are certain
	items []output.Item // the output for -n, newest first
	done  bool
}

// tree is a tree. It changes if an earlier entry uses the context that it needs.
type tree struct {
	root     *schema.Span
	entries  []entry
	selected bool
	needs    event.ContextID
	contexts []event.ContextID // of its spans
}

// entry is an entry of the log, with its index in its page.
type entry struct {
	sequence uint64
	bytes    []byte
	boot     int64
	index    uint64
	read     *uint64 // number of entries read, including the page
}

// unplaced is a notice of missing entries, with the end and the boot time of the entries
// before them, as far as known.
type unplaced struct {
	*render.Notice

	missing   event.Missing
	end, boot int64
}

// backwardMemory is the memory limit above which garbage is collected more often while
// reading backwards. Half of it is in use.
const backwardMemory = 48 << 20

// limitMemory sets the memory limit to backwardMemory, unless the environment has set a
// lower one.
func limitMemory() (restore func()) {
	old := debug.SetMemoryLimit(-1)
	if old <= backwardMemory {
		return func() {}
	}
	debug.SetMemoryLimit(backwardMemory)
	return func() { debug.SetMemoryLimit(old) }
}

// Options are the options of Show.
type Options struct {
	Viewer viewer.Options
	Source source.Store
	// Newest and Oldest are the ends of the log.
	Newest, Oldest logstore.Cursor
	// Begin is the position where reading ends; nil: before the oldest entry.
	Begin *logstore.Cursor
	// Finder finds the groups for which Has reports the sign; nil: read everything.
	Finder source.Store
	Has    func(*event.Group) bool
	Meter  *progress.Meter
	// AtEnd is called when the source is at the end of the log.
	AtEnd func(*viewer.Viewer) error
}

// Show shows the log, or its newest operations, by reading it backwards from its end.
func Show(ctx context.Context, o *Options, out *output.Output) (*viewer.Viewer, error) {
	newest, oldest := o.Newest, o.Oldest
	if o.Viewer.Lines < 0 {
		defer limitMemory()()
	}
	b := &backward{Viewer: viewer.New(o.Viewer, out), source: o.Source, begin: o.Begin, from: newest, oldest: oldest.Sequence}
	if o.Finder != nil {
		b.skipper = around.NewSkipper(o.Finder, o.Has, newest)
	}
	for size := uint64(firstPage); !b.done; {
		if err := b.skip(ctx); err != nil {
			return b.Viewer, err
		}
		p, more, err := b.seek(size)
		if err == nil {
			err = p.fill(ctx, b.first)
		}
		if err != nil {
			return b.Viewer, err
		}
		if p.full && size > firstPage {
			size /= 8
			continue
		}
		if b.first == 0 {
			if err := o.AtEnd(b.Viewer); err != nil {
				return b.Viewer, err
			}
		}
		b.whole = !more
		if at := min(p.from.Sequence, newest.Sequence); at >= oldest.Sequence {
			o.Meter.Set(int64(newest.Sequence-at), int64(newest.Sequence-oldest.Sequence))
		}
		b.add(p)
		b.release()
		if b.Err == nil && b.Lines < 0 {
			b.Err = b.Out.Flush()
		}
		if b.Err != nil {
			return b.Viewer, b.Err
		}
		if size < maxPage || p.count < maxPage/4 {
			size *= 2 // few of the remaining entries may be selected
		}
	}
	if !b.Reverse {
		slices.Reverse(b.items)
	}
	for _, i := range b.items {
		b.Print(i)
	}
	if b.skipped {
		b.Passed = 0 // it only counted those that were read
	}
	b.Err = b.Finish()
	return b.Viewer, b.Err
}

// seek positions the source before a page of about size entries; more reports whether
// entries precede the page.
func (b *backward) seek(size uint64) (p *page, more bool, err error) {
	p = newPage(b)
	p.from, more, err = b.source.StepBack(b.from, size)
	if err != nil {
		return nil, false, err
	}
	if more && b.begin != nil && p.from.Sequence <= b.begin.Sequence {
		more = false
	}
	p.whole = !more
	switch {
	case more:
		_, err = b.source.Seek(p.from)
	case b.begin != nil:
		_, err = b.source.Seek(*b.begin)
	default:
		err = b.source.Rewind()
	}
	return p, more, err
}

// add adds the trees and notices of a page to those that are not shown yet.
func (b *backward) add(p *page) {
	b.from = p.from
	if p.first != 0 {
		b.first = p.first
	}
	b.read += uint64(p.count)
	*p.read = b.read
	if p.count > 0 {
		b.start = p.start
	}
	b.placeNotices(p)
	b.reopen(p)
	p.builder.Close()
	for i := range p.trees {
		t := &p.trees[i]
		t.selected = b.Selection.Shows(t.root)
		for _, e := range t.entries {
			b.size += len(e.bytes)
		}
	}
	b.open = append(b.open, p.trees...)
	slices.SortStableFunc(b.open, func(x, y tree) int { return cmp.Compare(x.entries[0].sequence, y.entries[0].sequence) })
	b.Gaps.Prepend(&p.gaps)
}

// placeNotices adds the notices of a page, and sets the time of the unplaced notices of
// later pages.
func (b *backward) placeNotices(p *page) {
	for _, u := range b.unplaced {
		if u.end = max(u.end, p.Latest); u.boot == 0 {
			u.boot = p.Boot
		}
		*u.Notice = *render.NewMissing(u.missing, u.end, u.boot)
		if p.count == 0 {
			p.unplaced = append(p.unplaced, u)
		}
	}
	b.unplaced = p.unplaced
	b.later = append(b.Notices, b.later...)
	b.Notices = nil
	slices.SortStableFunc(b.later, func(x, y *render.Notice) int { return cmp.Compare(x.Start, y.Start) })
}

// reopen passes the trees that a page changes to its builder again, with the trees that
// use the same contexts.
func (b *backward) reopen(p *page) {
	var entries []entry
	used := make(map[event.ContextID]bool)
	for changed := true; changed; {
		changed = false
		b.open = slices.DeleteFunc(b.open, func(t tree) bool {
			if !p.ids[t.needs] && !slices.ContainsFunc(t.contexts, func(id event.ContextID) bool { return used[id] }) {
				return false
			}
			for _, id := range t.contexts {
				changed = changed || !used[id]
				used[id] = true
			}
			entries = append(entries, t.entries...)
			return true
		})
	}
	slices.SortFunc(entries, func(x, y entry) int { return cmp.Compare(x.sequence, y.sequence) })
	var g event.Group
	for _, e := range entries {
		b.size -= len(e.bytes)
		if _, err := event.Decode(e.bytes, &g); err == nil { // it was decoded before
			p.build(&g, e)
		}
	}
}

// certain reports whether a tree is final.
func (b *backward) certain(t *tree) bool {
	first := &t.entries[0]
	before := b.read - *first.read + first.index
	return b.whole || b.size > maxHeld || before >= maxLookback ||
		before >= lookback && t.root.Start-b.start >= int64(lookbackTime)
}

// release shows the trees that are certain, newest first, and the notices between them.
func (b *backward) release() {
	// latest are, for each tree, the latest start of the selected trees up to it.
	latest, at := make([]int64, len(b.open)), int64(math.MinInt64)
	for i := range b.open {
		if b.open[i].selected {
			at = max(at, b.open[i].root.Start)
		}
		latest[i] = at
	}
	n := len(b.open)
	for ; n > 0 && b.certain(&b.open[n-1]) && b.Err == nil; n-- {
		t := &b.open[n-1]
		for _, e := range t.entries {
			b.size -= len(e.bytes)
		}
		if !t.selected {
			b.Passed++
			continue
		}
		b.noticesFrom(latest[n-1])
		if b.Lines >= 0 && b.found == b.Lines {
			b.noticesUntil(latest[n-1])
			b.done = true
			return
		}
		b.found++
		b.take(output.Item{Root: t.root, Entries: b.renderEntries(t)})
	}
	clear(b.open[n:])
	b.open = b.open[:n]
	if b.whole {
		b.noticesFrom(math.MinInt64)
		b.done = true
	}
}

// noticesFrom shows the notices with a start at t or later.
func (b *backward) noticesFrom(t int64) {
	for n := len(b.later); n > 0 && b.later[n-1].Start >= t; n-- {
		b.take(output.Item{Notice: b.later[n-1]})
		b.later = b.later[:n-1]
	}
}

// noticesUntil shows the notices with an end at t or later.
func (b *backward) noticesUntil(t int64) {
	for _, n := range slices.Backward(b.later) {
		if n.End >= t {
			b.take(output.Item{Notice: n})
		}
	}
}

// take prints an item, or keeps it until all operations for -n have been found.
func (b *backward) take(i output.Item) {
	if b.Lines < 0 {
		b.Print(i)
	} else {
		b.items = append(b.items, i)
	}
}

// renderEntries returns the entries of a tree for a form that needs them.
func (b *backward) renderEntries(t *tree) []render.Entry {
	if !b.Entries {
		return nil
	}
	entries := make([]render.Entry, len(t.entries))
	for i, e := range t.entries {
		entries[i] = render.Entry{Bytes: e.bytes, Boot: e.boot, Order: e.sequence}
	}
	return entries
}
