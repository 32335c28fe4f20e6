// SPDX-License-Identifier: Apache-2.0

package operations

import (
	"context"
	"slices"
	"time"

	"crypto-auditing/src/internal/broker/filter"
	"crypto-auditing/src/internal/broker/reading"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/schema"
)

// MaxOperations is the highest number of operations in a page.
const MaxOperations = 1000

// pageTime is how long Read searches for matching operations by default.
const pageTime = 5 * time.Second

// Source is where operations come from.
type Source struct {
	Registry *schema.Registry
	Log      *reading.Log
	// Library returns the name of the library with a build-id, empty if it is not known.
	Library func(id string) string
	Now     func() time.Time

	kept kept
}

// Close ends the walks that were kept for further pages.
func (s *Source) Close() { s.kept.close() }

// Options are what a page has.
type Options struct {
	Filter *filter.Filter
	// After is the position from which to read: operations that are completed after it or,
	// with NewestFirst, up to it.
	After       logstore.Cursor
	NewestFirst bool
	// Time is how long to search for matching operations; 0 selects the default.
	Time time.Duration
}

// Page is a page of operations, in the order of their completion: of their last entries. It must
// not be used concurrently.
type Page struct {
	Options
	// Next is the position to continue from.
	Next logstore.Cursor
	// Missing is the number of entries between After and Next that are gone.
	Missing uint64
	// Gaps are the gaps between After and Next, oldest first, unless with NewestFirst.
	Gaps []*reading.Gap
	// End reports that the end of the log was reached.
	End bool
	// Unreadable reports that the newest segment, which may hold more, cannot be read.
	Unreadable bool

	source    *Source
	converter *converter
	most      int
	take      Take
	began     time.Time
	// taken counts the operations; last is the last entry of the last one.
	taken int
	last  uint64
}

// Take takes an operation. It reports whether there was room for it; whole requires that it is
// taken, in a shorter form if need be.
type Take func(o *Operation, whole bool) bool

// Read passes at most most operations to take, unless one entry completed more. The error is that
// of ctx or a *fault.StoreError. It may be called concurrently.
func (s *Source) Read(ctx context.Context, o Options, most int, take Take) (*Page, error) {
	if o.Time == 0 {
		o.Time = pageTime
	}
	p := &Page{Options: o, Next: o.After, source: s, converter: s.converter(), most: most, take: take, began: time.Now()}
	if o.NewestFirst {
		return p, p.backward(ctx)
	}
	return p, p.forward(ctx)
}

// converter returns a converter.
func (s *Source) converter() *converter {
	return &converter{registry: s.Registry, library: s.Library}
}

// late reports whether the page takes too long.
func (p *Page) late() bool { return time.Since(p.began) >= p.Time }

func (p *Page) at(sequence uint64) logstore.Cursor {
	return logstore.Cursor{Store: p.After.Store, Sequence: sequence}
}

// add passes a tree to take. It reports whether there was room for it.
func (p *Page) add(root *schema.Span) bool {
	again := p.taken > 0 && root.Completed == p.last // a cursor does not separate them
	if p.taken >= p.most && !again {
		return false
	}
	if !p.take(p.converter.convert(root, p.After.Store), p.taken == 0 || again) {
		return false
	}
	p.taken, p.last = p.taken+1, root.Completed
	return true
}

// passes reports whether the filter selects a tree.
func (p *Page) passes(root *schema.Span) bool {
	return p.Filter.PassesOperation(p.source.Registry, root)
}

func (p *Page) forward(ctx context.Context) error {
	var w *walk
	var err error
	if w, _ = p.source.kept.take(p.key()).(*walk); w == nil {
		if w, err = startWalk(ctx, p.source, p.After); err != nil {
			return err
		}
	}
	next, err := p.fill(ctx, w)
	if err != nil {
		w.close()
		return err
	}
	p.Next = p.at(next)
	w.gaps = slices.DeleteFunc(w.gaps, func(g *reading.Gap) bool {
		passed := g.To.Sequence <= next
		if g = gapAfter(g, p.After.Sequence); passed && g != nil {
			p.Gaps, p.Missing = append(p.Gaps, g), p.Missing+g.Entries
		}
		return passed
	})
	if p.Unreadable = w.unreadable; p.Unreadable {
		w.close() // the next page must find out again
		return nil
	}
	p.source.kept.put(p.key(), w)
	return nil
}

// fill reads until the page is full, at the end of the log, or late. It returns the position up to
// which it has all operations.
func (p *Page) fill(ctx context.Context, w *walk) (next uint64, err error) {
	after := p.After.Sequence
	for end := false; ; {
		for root := w.first(); root != nil; root = w.first() {
			if root.Completed > after && p.passes(root) && !p.add(root) {
				return p.last, nil
			}
			w.release()
		}
		switch {
		case p.taken >= p.most:
			return p.last, nil
		case end, w.read%checks == 0 && p.late() && w.passed() > after:
			p.End = end
			return max(after, w.passed()), nil
		}
		if end, err = w.step(ctx); err != nil {
			return 0, err
		}
	}
}
