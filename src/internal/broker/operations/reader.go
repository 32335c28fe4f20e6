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

// Source reads operations from a log.
type Source struct {
	Registry *schema.Registry
	Log      *reading.Log
	// Library returns the name of the library with a build-id, empty if it is not known.
	Library func(id string) string
	Now     func() time.Time

	cache pageCache
}

// Close ends the walks that are kept for further pages.
func (s *Source) Close() { s.cache.close() }

// Encoder is how a transport encodes operations. Equal encoders have the same output.
type Encoder interface {
	// Append appends an operation to dst. The output may be joined with other operations in
	// any order.
	Append(dst []byte, o *Operation) []byte
}

// Options select the content of a page.
type Options struct {
	Filter  *filter.Filter
	Encoder Encoder
	// Most is the highest number of operations, Size the largest total size of their encodings
	// in bytes. A page has at least one operation, and all that one entry completed.
	Most, Size int
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
	encoded
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
	began     time.Time
}

// encoded has operations in the encoding of an Encoder.
type encoded struct {
	Bytes []byte
	// Ends are the ends of the operations in Bytes.
	Ends []End
}

// End is the end of an encoded operation.
type End struct {
	// Sequence is the number of the last entry of the operation.
	Sequence uint64
	// At is the offset of the end.
	At int
}

// last returns the number of the last entry of the last operation, 0 without one.
func (e *encoded) last() uint64 {
	if len(e.Ends) == 0 {
		return 0
	}
	return e.Ends[len(e.Ends)-1].Sequence
}

// Read reads a page. The error is that of ctx or a *fault.StoreError. It may be called
// concurrently.
func (s *Source) Read(ctx context.Context, o Options) (*Page, error) {
	if o.Time == 0 {
		o.Time = pageTime
	}
	p := s.page(o, nil)
	if o.NewestFirst {
		return p, p.backward(ctx)
	}
	return p, p.forward(ctx)
}

// page returns an empty page. c may be nil.
func (s *Source) page(o Options, c *converter) *Page {
	if c == nil {
		c = s.converter()
	}
	return &Page{Options: o, Next: o.After, source: s, converter: c, began: time.Now()}
}

// converter returns a converter.
func (s *Source) converter() *converter {
	return &converter{registry: s.Registry, library: s.Library}
}

// usualBytes is the size of most encoded operations, in bytes.
const usualBytes = 1 << 10

// late reports whether the page takes too long.
func (p *Page) late() bool { return time.Since(p.began) >= p.Time }

func (p *Page) at(sequence uint64) logstore.Cursor {
	return logstore.Cursor{Store: p.After.Store, Sequence: sequence}
}

// full reports whether a page with a number of operations and bytes has no room for an operation
// that an entry completed.
func (p *Page) full(operations, bytes int, sequence uint64) bool {
	if len(p.Ends) == 0 || sequence == p.last() { // a cursor cannot separate them
		return false
	}
	return operations > p.Most || bytes > p.Size
}

// add adds a tree. It reports whether there was room for it.
func (p *Page) add(root *schema.Span) bool {
	n, before := len(p.Ends)+1, len(p.Bytes)
	if p.full(n, before, root.Completed) {
		return false
	}
	p.Bytes = p.Encoder.Append(p.Bytes, p.converter.convert(root, p.After.Store))
	if p.full(n, len(p.Bytes), root.Completed) {
		p.Bytes = p.Bytes[:before]
		return false
	}
	p.Ends = append(p.Ends, End{root.Completed, len(p.Bytes)})
	return true
}

// addAhead adds what a walk has read ahead. It reports whether there was room for all of it.
func (p *Page) addAhead(w *walk) bool {
	ahead := w.ahead
	w.ahead = encoded{}
	if len(ahead.Ends) == 0 {
		return true
	}
	if len(ahead.Ends) <= p.Most && len(ahead.Bytes) <= p.Size {
		p.encoded = ahead
		return true
	}
	from := 0
	for i, end := range ahead.Ends {
		n, size := len(p.Ends)+1, len(p.Bytes)+end.At-from
		if p.full(n, size, end.Sequence) {
			w.ahead.Bytes = ahead.Bytes[from:]
			for _, end := range ahead.Ends[i:] {
				w.ahead.Ends = append(w.ahead.Ends, End{end.Sequence, end.At - from})
			}
			return false
		}
		p.Bytes = append(p.Bytes, ahead.Bytes[from:end.At]...)
		p.Ends = append(p.Ends, End{end.Sequence, len(p.Bytes)})
		from = end.At
	}
	return true
}

// passes reports whether the filter selects a tree.
func (p *Page) passes(root *schema.Span) bool {
	return p.Filter.PassesOperation(p.source.Registry, root)
}

func (p *Page) forward(ctx context.Context) error {
	w, _ := p.source.cache.take(p.key()).(*walk)
	if w != nil && w.failed {
		w.close()
		w = nil // a new walk fails, too, or reads the current log
	}
	continues := w != nil
	if !continues {
		var err error
		if w, err = startWalk(ctx, p.source, p.After); err != nil {
			return err
		}
	}
	next, full, err := p.fill(ctx, w)
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
		w.close() // the next page must try again
		return nil
	}
	var ahead func(context.Context)
	if continues && full && len(w.ahead.Ends) == 0 {
		// Read ahead while the client reads this page.
		o, size := p.Options, len(p.Bytes)
		o.After = p.Next
		ahead = func(ctx context.Context) {
			following := p.source.page(o, p.converter)
			following.Bytes = make([]byte, 0, size+size/16)
			_, _, err := following.fill(ctx, w)
			w.ahead, w.failed = following.encoded, err != nil
		}
	}
	p.source.cache.put(p.key(), w, ahead)
	return nil
}

// fill reads until the page is full, at the end of the log, or late. It returns the position up to
// which it has all operations.
func (p *Page) fill(ctx context.Context, w *walk) (next uint64, full bool, err error) {
	if !p.addAhead(w) {
		return p.last(), true, nil
	}
	if p.Bytes == nil {
		p.Bytes = make([]byte, 0, min(p.Size, min(p.Most, MaxOperations)*usualBytes))
	}
	after := p.After.Sequence
	for end := false; ; {
		for root := w.first(); root != nil; root = w.first() {
			if root.Completed > after && p.passes(root) && !p.add(root) {
				return p.last(), true, nil
			}
			w.release()
		}
		switch {
		case len(p.Ends) >= p.Most:
			return p.last(), true, nil
		case end, w.read%checks == 0 && p.late() && w.passed() > after:
			p.End = end
			return max(after, w.passed()), false, nil
		}
		if end, err = w.step(ctx); err != nil {
			return 0, false, err
		}
	}
}
