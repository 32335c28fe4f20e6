// SPDX-License-Identifier: Apache-2.0

package query

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"sort"

	"crypto-auditing/src/internal/cli/around"
	"crypto-auditing/src/internal/cli/output"
	"crypto-auditing/src/internal/cli/render"
	"crypto-auditing/src/internal/cli/source"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/schema"
)

// viewer takes trees and notices to the printer: at once, or, if not all are
// shown or in another order, when all are there.
type viewer struct {
	query *query
	out   *output.Output
	held  held
	// notices wait for the trees that began before them, in the order of their
	// beginning.
	notices  []*render.Notice
	removals render.Removals
	entries  map[*schema.Span][]render.Entry
	order    uint64
	shown    int    // trees
	passed   uint64 // trees that are not selected
	gaps     gaps
	settler  around.Settler
	window   *window // nil if the log is read from its beginning
	holding  bool    // hold what comes
	err      error   // that ended the output
	progress func()  // notes how far the source is

	// end and boot are of the entries that were read: the latest end, and the
	// time of boot of the last one, and its end.
	end, boot, at int64
	// cursor is the end of what was shown, if it is to be said or saved.
	cursor *logstore.Cursor
}

func newViewer(q *query, out *output.Output) *viewer {
	v := &viewer{query: q, out: out, holding: q.lines >= 0 || q.reverse, progress: func() {}}
	if q.form.Entries {
		v.entries = make(map[*schema.Span][]render.Entry)
	}
	return v
}

// read gives the groups of the source to the builder, up to its end or the
// first error that ends it, as that of a done context.
func (v *viewer) read(ctx context.Context, src source.Source, builder *schema.Builder) error {
	var g event.Group
	for n := 0; v.err == nil; n++ {
		if n%256 == 0 {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			v.err = v.out.Tick()
			v.progress()
		}
		raw, boot, err := src.Next(&g)
		var gap *source.GapError
		switch {
		case err == io.EOF:
			return nil
		case errors.As(err, &gap):
			v.gap(gap)
			continue
		case err != nil:
			return err
		}
		if v.window != nil {
			v.window.see(event.WallTime(boot, g.Start))
		}
		if g.IsMetadata() {
			builder.Add(&g, boot)
			v.metadata(&g, raw, boot)
			continue
		}
		v.group(builder, &g, raw, boot)
		v.settler.See(v.at, builder)
	}
	return nil
}

// group gives a group to the builder, and returns its span.
func (v *viewer) group(builder *schema.Builder, g *event.Group, raw []byte, boot int64) *schema.Span {
	v.at, v.boot = event.WallTime(boot, g.End), boot
	v.end = max(v.end, v.at)
	span := builder.Add(g, boot)
	if v.entries != nil && span != nil {
		v.order++
		v.entries[span] = append(v.entries[span], render.Entry{Bytes: bytes.Clone(raw), Boot: boot, Order: v.order})
	}
	return span
}

// gap takes what cannot be read.
func (v *viewer) gap(gap *source.GapError) {
	v.gaps.add(gap)
	if gap.Missing.Entries > 0 {
		v.missing(gap.Missing)
	}
}

// metadata takes the notices out of what a log says of itself.
func (v *viewer) metadata(g *event.Group, raw []byte, boot int64) {
	if r, ok := g.Removal(); ok {
		v.removals.Add(r, boot)
	}
	if !v.query.form.Entries {
		raw = nil // there can be many notices
	}
	if m, ok := g.Missing(); ok {
		v.missing(m)
	} else if n, ok := render.NewNotice(g, raw, boot); ok {
		v.notice(n)
	}
}

// missing takes that entries are missing between those that were read and those
// that follow.
func (v *viewer) missing(m event.Missing) {
	v.notice(render.NewMissing(m, v.end, v.boot))
}

// notice keeps a notice that is selected until it is its turn.
func (v *viewer) notice(n *render.Notice) {
	if !v.query.selection.ShowsNotice(n) {
		return
	}
	// They come in the order of their beginning, mostly.
	i := len(v.notices)
	for i > 0 && v.notices[i-1].Start > n.Start {
		i--
	}
	v.notices = slices.Insert(v.notices, i, n)
}

// root takes a complete tree.
func (v *viewer) root(root *schema.Span) {
	if v.err != nil {
		return
	}
	entries := v.takeEntries(root)
	if v.window != nil && !v.window.believes(v.query.registry, root) {
		return
	}
	if !v.query.selection.Shows(root) {
		v.passed++
		v.out.Release(root)
		return
	}
	v.noticesBefore(root.Start)
	v.add(item{root: root, entries: entries})
}

// noticesBefore passes on the notices about what began before a time. What
// began at that time comes first: a time without recording begins when the last
// event was recorded.
func (v *viewer) noticesBefore(t int64) {
	for len(v.notices) > 0 && v.notices[0].Start < t {
		v.nextNotice()
	}
}

// allNotices passes on all notices.
func (v *viewer) allNotices() {
	for len(v.notices) > 0 {
		v.nextNotice()
	}
}

func (v *viewer) nextNotice() {
	v.add(item{notice: v.notices[0]})
	v.notices[0] = nil
	v.notices = v.notices[1:]
}

// takeEntries returns the entries of a tree in the order of the log.
func (v *viewer) takeEntries(root *schema.Span) []render.Entry {
	if v.entries == nil {
		return nil
	}
	var entries []render.Entry
	root.Walk(func(s *schema.Span) bool {
		entries = append(entries, v.entries[s]...)
		delete(v.entries, s)
		return true
	})
	sort.Slice(entries, func(i, j int) bool { return entries[i].Order < entries[j].Order })
	return entries
}

func (v *viewer) add(i item) {
	if !v.holding {
		v.print(i)
		return
	}
	v.held.add(i, int(v.query.lines))
}

func (v *viewer) print(i item) {
	if v.err != nil {
		return
	}
	if i.root != nil {
		v.shown++
	}
	v.err = v.out.Print(output.Item{Root: i.root, Entries: i.entries, Notice: i.notice})
}

// releaseHeld prints what was held back and holds no longer.
func (v *viewer) releaseHeld() {
	items := v.held.take()
	if v.query.reverse {
		slices.Reverse(items)
	}
	for _, i := range items {
		v.print(i)
	}
	v.holding = false
}

// finish prints what was held back and ends the output.
func (v *viewer) finish() error {
	v.allNotices()
	v.releaseHeld()
	if v.err != nil {
		return v.err
	}
	return v.out.Finish()
}
