// SPDX-License-Identifier: Apache-2.0

package query

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"

	"crypto-auditing/src/internal/cli/around"
	"crypto-auditing/src/internal/cli/output"
	"crypto-auditing/src/internal/cli/query/backward"
	"crypto-auditing/src/internal/cli/query/viewer"
	"crypto-auditing/src/internal/cli/selection"
	"crypto-auditing/src/internal/cli/source"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/schema"
	"crypto-auditing/src/internal/settle"
)

// sign returns the sign of every selected operation, nil if there is no sign to search for.
func (q *query) sign() *selection.Sign {
	return q.selection.Sign(q.directory == "", q.boot.Forced != nil)
}

// showAround shows the operations with a sign by reading around the groups that have it.
// log has all groups of the operations.
func (q *query) showAround(ctx context.Context, sign *selection.Sign, log source.Store, out *output.Output, after *logstore.Cursor) (_ *viewer.Viewer, err error) {
	finder, err := q.openFor(ctx, sign.Chunks, sign.Filter)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, finder.Close()) }()
	options := around.Options{Registry: q.registry, Has: sign.Has, Finder: finder, Log: log}
	switch {
	case after != nil:
		options.After = after.Sequence
		_, err = finder.Seek(*after)
	case q.selection.Since != math.MinInt64 && q.boot.Forced == nil:
		err = finder.SeekTime(ctx, max(q.selection.Since, 1))
	}
	if err != nil {
		return nil, err
	}
	if q.shown != nil {
		options.After = max(options.After, q.shown.After)
	}
	v := viewer.New(q.viewer(), out)
	v.Progress = q.progressOf(log)
	r := &region{Viewer: v}
	out.PrintAside(ctx, func(root *schema.Span) { r.builder.Release(root) })
	err = around.New(options, r).Read(ctx)
	if err == nil {
		err = q.noteEnd(finder, v)
	}
	v.Passed = 0 // it only counted those that were read
	if v.Err == nil {
		v.Err = v.Finish()
	}
	if v.Err != nil {
		return v, v.Err
	}
	return v, err
}

// region passes the parts of a log around groups with a sign to a viewer.
type region struct {
	*viewer.Viewer

	builder *schema.Builder
	groups  int
	// numbers are the entries of each span, nil if all groups are passed.
	numbers map[*schema.Span][]uint64
	// ended are operations that wait for others that began earlier.
	ended  []ended
	repeat []uint64 // entries of operations that were not shown
}

// ended is an ended operation with its entries.
type ended struct {
	root    *schema.Span
	entries []uint64
}

func (r *region) Begin(start uint64, all bool) (repeat []uint64) {
	repeat, r.repeat = r.repeat, nil
	slices.SortFunc(r.ended, func(x, y ended) int { return cmp.Compare(x.entries[0], y.entries[0]) })
	n := 0
	for ; n < len(r.ended) && r.ended[n].entries[0] < start; n++ {
		r.Root(r.ended[n].root)
	}
	r.ended = slices.Delete(r.ended, 0, n)
	r.numbers = map[*schema.Span][]uint64{}
	if all {
		for _, e := range r.ended {
			repeat = append(repeat, e.entries...)
			r.TakeEntries(e.root)
		}
		r.ended, r.numbers = nil, nil
	}
	r.Settler = settle.Settler{}
	r.builder = schema.NewBuilder(r.Registry, schema.Options{Ordered: true}, r.root)
	if n > 0 && r.Err == nil {
		r.Err = r.Out.Flush()
	}
	return repeat
}

func (r *region) Group(sequence uint64, g *event.Group, raw []byte, boot int64) {
	span := r.Viewer.Group(r.builder, g, raw, boot)
	switch {
	case r.numbers == nil:
		r.Settler.Observe(r.At, r.builder)
		if r.groups++; r.groups%256 == 0 {
			r.Progress()
			if r.Err == nil {
				r.Err = r.Out.Tick()
			}
		}
	case span != nil:
		r.numbers[span] = append(r.numbers[span], sequence)
	}
}

// root receives a complete tree.
func (r *region) root(root *schema.Span) {
	if r.numbers == nil {
		r.Root(root)
		return
	}
	e := ended{root: root}
	root.Walk(func(s *schema.Span) bool {
		e.entries = append(e.entries, r.numbers[s]...)
		return true
	})
	if !r.Selection.Shows(root) {
		// It may be a part of another operation.
		r.TakeEntries(root)
		r.repeat = append(r.repeat, e.entries...)
		return
	}
	slices.Sort(e.entries)
	if len(e.entries) == 0 {
		e.entries = []uint64{0} // its events share an entry with another
	}
	r.ended = append(r.ended, e)
}

func (r *region) Notice(g *event.Group, raw []byte, boot int64) { r.Metadata(g, raw, boot) }

func (r *region) Gap(gap *source.GapError) { r.Viewer.Gap(gap) }

func (r *region) End() error {
	r.builder.Close()
	r.numbers = nil
	return r.Err
}

// showBackward shows the log, or its newest operations, by reading it backwards from its
// end to after, or to its beginning if after is nil.
func (q *query) showBackward(ctx context.Context, src source.Store, out *output.Output, after *logstore.Cursor) (_ *viewer.Viewer, err error) {
	o := backward.Options{
		Viewer: q.viewer(), Source: src, Begin: after, Meter: q.meter,
		AtEnd: func(v *viewer.Viewer) error { return q.noteEnd(src, v) },
	}
	if o.Newest, o.Oldest, err = src.Ends(); err != nil {
		return nil, err
	}
	if o.Begin == nil {
		if o.Begin, err = q.begin(ctx, src); err != nil {
			return nil, err
		}
	}
	if sign := q.sign(); sign != nil {
		if o.Finder, err = q.openFor(ctx, sign.Chunks, sign.Filter); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, o.Finder.Close()) }()
		o.Has = sign.Has
	}
	return backward.Show(ctx, &o, out)
}
