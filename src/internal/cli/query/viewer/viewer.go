// SPDX-License-Identifier: Apache-2.0

// Package viewer outputs the trees and notices of a log in display order, and collects
// the unreadable parts.
package viewer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"sort"

	"crypto-auditing/src/internal/cli/output"
	"crypto-auditing/src/internal/cli/render"
	"crypto-auditing/src/internal/cli/selection"
	"crypto-auditing/src/internal/cli/source"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/schema"
	"crypto-auditing/src/internal/settle"
)

// Options are the options of a Viewer.
type Options struct {
	Registry  *schema.Registry
	Selection *selection.Selection
	Lines     int // only the newest operations; negative: all
	Reverse   bool
	Entries   bool // keep the entries of operations, for a form that needs them
}

// Viewer passes trees and notices to the output: at once, or at the end if only the
// newest are shown or the order is reversed.
type Viewer struct {
	Options

	Out  *output.Output
	held held
	// Notices wait for the trees that began before them, ordered by their start.
	Notices  []*render.Notice
	Removals render.Removals
	entries  map[*schema.Span][]render.Entry
	order    uint64
	Shown    int    // trees
	Passed   uint64 // trees that are not selected
	Gaps     Gaps
	Settler  settle.Settler
	Window   *Window // nil if the log is read from its beginning
	Holding  bool    // hold items back
	Err      error   // the error that ended the output
	Progress func()  // updates the progress of the source

	// Latest is the latest end of the entries that were read, Boot the boot time and At
	// the end of the last one.
	Latest, Boot, At int64
	// Cursor is the end of the shown entries, if it is to be printed or saved.
	Cursor *logstore.Cursor
}

// New returns a Viewer that prints to out.
func New(o Options, out *output.Output) *Viewer {
	v := &Viewer{Options: o, Out: out, Holding: o.Lines >= 0 || o.Reverse, Progress: func() {}}
	if o.Entries {
		v.entries = make(map[*schema.Span][]render.Entry)
	}
	return v
}

// Read passes the groups of the source to the builder, up to its end or the first fatal
// error, such as the error of a done context.
func (v *Viewer) Read(ctx context.Context, src source.Source, builder *schema.Builder) error {
	var g event.Group
	for n := 0; v.Err == nil; n++ {
		if n%256 == 0 {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			v.Err = v.Out.Tick()
			v.Progress()
		}
		raw, boot, err := src.Next(&g)
		var gap *source.GapError
		switch {
		case err == io.EOF:
			return nil
		case errors.As(err, &gap):
			v.Gap(gap)
			continue
		case err != nil:
			return err
		}
		if v.Window != nil {
			v.Window.record(event.WallTime(boot, g.Start))
		}
		if g.IsMetadata() {
			builder.Add(&g, boot)
			v.Metadata(&g, raw, boot)
			continue
		}
		v.Group(builder, &g, raw, boot)
		v.Settler.Observe(v.At, builder)
	}
	return nil
}

// Group passes a group to the builder, and returns its span.
func (v *Viewer) Group(builder *schema.Builder, g *event.Group, raw []byte, boot int64) *schema.Span {
	v.At, v.Boot = event.WallTime(boot, g.End), boot
	v.Latest = max(v.Latest, v.At)
	span := builder.Add(g, boot)
	if v.entries != nil && span != nil {
		v.order++
		v.entries[span] = append(v.entries[span], render.Entry{Bytes: bytes.Clone(raw), Boot: boot, Order: v.order})
	}
	return span
}

// Gap adds an unreadable part.
func (v *Viewer) Gap(gap *source.GapError) {
	v.Gaps.Add(gap)
	if gap.Missing.Entries > 0 {
		v.Missing(gap.Missing)
	}
}

// Metadata extracts the notice from a metadata group, if it is one.
func (v *Viewer) Metadata(g *event.Group, raw []byte, boot int64) {
	if r, ok := g.Removal(); ok {
		v.Removals.Add(r, boot)
	}
	if !v.Entries {
		raw = nil // there can be many notices
	}
	if m, ok := g.Missing(); ok {
		v.Missing(m)
	} else if n, ok := render.NewNotice(g, raw, boot); ok {
		v.Notice(n)
	}
}

// Missing adds a notice of entries that are missing after those that were read.
func (v *Viewer) Missing(m event.Missing) {
	v.Notice(render.NewMissing(m, v.Latest, v.Boot))
}

// Notice queues a notice if it is selected.
func (v *Viewer) Notice(n *render.Notice) {
	if !v.Selection.ShowsNotice(n) {
		return
	}
	// Notices mostly arrive in the order of their start.
	i := len(v.Notices)
	for i > 0 && v.Notices[i-1].Start > n.Start {
		i--
	}
	v.Notices = slices.Insert(v.Notices, i, n)
}

// Root receives a complete tree.
func (v *Viewer) Root(root *schema.Span) {
	if v.Err != nil {
		return
	}
	entries := v.TakeEntries(root)
	if v.Window != nil && !v.Window.accepts(v.Registry, root) {
		return
	}
	if !v.Selection.Shows(root) {
		v.Passed++
		v.Out.Release(root)
		return
	}
	v.NoticesBefore(root.Start)
	v.add(output.Item{Root: root, Entries: entries})
}

// NoticesBefore prints the notices with a start before t. A tree with the same start comes
// first: a time without recording begins when the last event was recorded.
func (v *Viewer) NoticesBefore(t int64) {
	for len(v.Notices) > 0 && v.Notices[0].Start < t {
		v.nextNotice()
	}
}

// AllNotices prints all queued notices.
func (v *Viewer) AllNotices() {
	for len(v.Notices) > 0 {
		v.nextNotice()
	}
}

func (v *Viewer) nextNotice() {
	v.add(output.Item{Notice: v.Notices[0]})
	v.Notices[0] = nil
	v.Notices = v.Notices[1:]
}

// TakeEntries returns the entries of a tree in the order of the log.
func (v *Viewer) TakeEntries(root *schema.Span) []render.Entry {
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

func (v *Viewer) add(i output.Item) {
	if !v.Holding {
		v.Print(i)
		return
	}
	v.held.add(i, v.Lines)
}

// Print prints an item, unless the output has ended.
func (v *Viewer) Print(i output.Item) {
	if v.Err != nil {
		return
	}
	if i.Root != nil {
		v.Shown++
	}
	v.Err = v.Out.Print(i)
}

// ReleaseHeld prints the held items and ends holding.
func (v *Viewer) ReleaseHeld() {
	items := v.held.take()
	if v.Reverse {
		slices.Reverse(items)
	}
	for _, i := range items {
		v.Print(i)
	}
	v.Holding = false
}

// Finish prints the held items and ends the output.
func (v *Viewer) Finish() error {
	v.AllNotices()
	v.ReleaseHeld()
	if v.Err != nil {
		return v.Err
	}
	return v.Out.Finish()
}
