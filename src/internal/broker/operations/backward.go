// SPDX-License-Identifier: Apache-2.0

package operations

import (
	"context"

	"crypto-auditing/src/internal/broker/reading"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/schema"
)

// firstWindow and maxWindow are the numbers of entries whose operations are built at once.
const firstWindow, maxWindow = 4096, 65536

// window has all operations that were completed after a position and are not returned yet, in the
// order of their completion.
type window struct {
	roots []*schema.Span
	size  int // of the roots, in bytes
	after uint64
	gaps  []*reading.Gap
}

func (w *window) close() {}

func (w *window) bytes() int { return w.size }

// pop removes the newest tree.
func (w *window) pop() {
	last := len(w.roots) - 1
	w.size -= size(w.roots[last])
	w.roots[last] = nil
	w.roots = w.roots[:last]
}

// shrink removes the oldest trees if all together are too large, and starts the window after them.
func (w *window) shrink() {
	for w.size > maxBytes && w.roots[0].Completed < w.roots[len(w.roots)-1].Completed {
		// A cursor cannot separate trees that one entry completed.
		for w.after = w.roots[0].Completed; w.roots[0].Completed == w.after; w.roots = w.roots[1:] {
			w.size -= size(w.roots[0])
		}
	}
}

func (p *Page) backward(ctx context.Context) error {
	w, _ := p.source.cache.take(p.key()).(*window)
	for size := uint64(firstWindow); ; size = min(2*size, maxWindow) {
		if w == nil {
			from, err := p.source.Log.StepBack(ctx, p.Next, func(entries uint64, _ int64) bool { return entries >= size })
			if err != nil {
				return err
			}
			if from.Sequence >= p.Next.Sequence {
				return nil // the beginning of the log
			}
			if w, err = p.window(ctx, from); err != nil {
				return err
			}
		}
		for n := len(w.roots); n > 0; n = len(w.roots) {
			if !p.add(w.roots[n-1]) {
				p.pause(w, w.roots[n-1].Completed)
				return nil
			}
			w.pop()
		}
		p.pause(w, w.after)
		if len(p.Ends) >= p.Most || p.late() {
			return nil
		}
		w = nil
	}
}

// pause ends a window, or the page, at a position.
func (p *Page) pause(w *window, next uint64) {
	for _, gap := range w.gaps {
		if gap = gapAfter(gap, next); gap != nil && gap.To.Sequence <= p.Next.Sequence {
			p.Missing += gap.Entries
		}
	}
	p.Next = p.at(next)
	if len(w.roots) > 0 {
		p.source.cache.put(p.key(), w, nil)
	}
}

// window builds the matching operations that were completed between a position and Next. It starts
// at a later position if they are too large together.
func (p *Page) window(ctx context.Context, from logstore.Cursor) (*window, error) {
	w, err := startWalk(ctx, p.source, from)
	if err != nil {
		return nil, err
	}
	defer w.close()
	built := &window{after: from.Sequence}
	until := p.Next.Sequence
	for end := false; ; {
		for root := w.first(); root != nil; root = w.first() {
			if root.Completed <= from.Sequence || root.Completed > until || !p.passes(root) {
				w.release()
				continue
			}
			built.roots = append(built.roots, w.remove())
			built.size += size(root)
		}
		built.shrink()
		if end || w.passed() >= until {
			break
		}
		if end, err = w.step(ctx); err != nil {
			return nil, err
		}
	}
	built.gaps = w.gaps
	p.Unreadable = p.Unreadable || w.unreadable
	return built, nil
}
