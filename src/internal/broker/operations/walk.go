// SPDX-License-Identifier: Apache-2.0

package operations

import (
	"context"
	"io"
	"slices"
	"time"

	"crypto-auditing/src/internal/broker/filter"
	"crypto-auditing/src/internal/broker/reading"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/schema"
	"crypto-auditing/src/internal/settle"
)

const (
	// checks is the number of entries that are read between two checks of the clock.
	checks = 1024
	// maxBytes bounds the memory of the incomplete trees of a walk, and of those that wait
	// for others.
	maxBytes = 32 << 20
	// maxFree is the number of released spans whose memory is reused: trees are completed
	// one by one.
	maxFree = 1024
	// chunkBytes is the memory of a chunk that is being read, in bytes.
	chunkBytes = 4 << 20
	// A walk begins leastTime and leastEntries before its first position, or mostEntries: an
	// operation that lasted longer may be returned in parts.
	leastTime    = 20 * time.Second
	leastEntries = 4096
	mostEntries  = 1 << 18
)

// walk builds trees from the log and completes them in the order of their last entries. Which
// these are depends on the entries, not on where the walk began, except for longer trees than it
// reads before its first position. It must not be used concurrently.
type walk struct {
	scanner *reading.Scanner
	entry   event.Entry // the last one read
	builder *schema.Builder
	clock   settle.Clock
	now     func() time.Time
	// done are the complete trees, in the order of their last entries, and doneBytes their
	// memory. Those after the last entry of an incomplete tree wait for it.
	done      []*schema.Span
	doneBytes int
	read      uint64
	last      uint64 // number of the last entry read
	gaps      []*reading.Gap
	// unreadable reports that the newest segment cannot be read.
	unreadable bool
	// ahead are the operations before done that were read ahead; failed reports that this
	// ended with an error.
	ahead  encoded
	failed bool
}

// startWalk starts a walk for the trees that are completed after a position, early enough before
// it that they are complete. The error is that of ctx or a *fault.StoreError.
func startWalk(ctx context.Context, o *Source, after logstore.Cursor) (*walk, error) {
	from, err := o.Log.StepBack(ctx, after, func(entries uint64, took int64) bool {
		return entries >= mostEntries || entries >= leastEntries && took >= int64(leastTime)
	})
	if err != nil {
		return nil, err
	}
	all, err := filter.Compile(o.Registry, filter.Spec{})
	if err != nil {
		return nil, err
	}
	w := &walk{last: from.Sequence, now: o.Now}
	if w.scanner, err = o.Log.Scanner(all, from); err != nil {
		return nil, err
	}
	w.builder = schema.NewBuilder(o.Registry, schema.Options{MaxBytes: maxBytes, MaxFree: maxFree}, w.complete)
	return w, nil
}

func (w *walk) close() { w.scanner.Close() }

// bytes returns the approximate memory that it uses.
func (w *walk) bytes() int { return w.builder.Bytes() + w.doneBytes + chunkBytes + cap(w.ahead.Bytes) }

// complete receives a complete tree.
func (w *walk) complete(root *schema.Span) {
	at := len(w.done)
	for at > 0 && w.done[at-1].Completed > root.Completed {
		at--
	}
	w.done = slices.Insert(w.done, at, root)
	w.doneBytes += size(root)
}

// first returns the first complete tree that does not wait for another, nil without one.
func (w *walk) first() *schema.Span {
	if len(w.done) == 0 {
		return nil
	}
	if oldest, ok := w.builder.Oldest(); ok && oldest <= w.done[0].Completed {
		return nil
	}
	return w.done[0]
}

// release removes the tree that first returned and reuses its memory.
func (w *walk) release() {
	w.builder.Release(w.remove())
}

// remove removes the tree that first returned.
func (w *walk) remove() *schema.Span {
	root := w.done[0]
	w.doneBytes -= size(root)
	if w.done = w.done[1:]; len(w.done) == 0 {
		w.done = nil
	}
	return root
}

// passed returns the number of the last entry up to which all trees have been passed.
func (w *walk) passed() uint64 {
	passed := w.last
	if oldest, ok := w.builder.Oldest(); ok {
		passed = oldest - 1
	}
	if len(w.done) > 0 {
		passed = min(passed, w.done[0].Completed-1)
	}
	return passed
}

// step reads an entry. end reports that the log has no more for now. The error is that of ctx or
// a *fault.StoreError.
func (w *walk) step(ctx context.Context) (end bool, err error) {
	e := &w.entry
	if err = w.scanner.Next(ctx, e); err != nil {
		gap := reading.AsGap(err)
		switch {
		case err == io.EOF:
			w.last = w.scanner.Cursor().Sequence
			w.builder.FlushUntil(w.clock.End(w.now().UnixNano()))
			return true, nil
		case gap != nil:
			w.gaps = append(w.gaps, gap)
			w.unreadable = w.unreadable || gap.Open()
			return false, nil
		}
		return false, err
	}
	if w.read++; w.read%checks == 0 && ctx.Err() != nil {
		return false, ctx.Err()
	}
	w.last = e.Sequence
	if !e.Group.IsMetadata() {
		// Before the entry is added: after a pause, it belongs to another operation.
		w.builder.FlushUntil(w.clock.Observe(e.Sequence, e.Group.End, e.Boot))
	}
	w.builder.At(e.Sequence)
	w.builder.Add(e.Group, e.Boot)
	if w.doneBytes > maxBytes {
		w.builder.FlushUntil(w.done[0].Completed)
	}
	return false, nil
}

// due returns how long it takes until a tree may be complete without another entry, 0 if none is
// incomplete.
func (w *walk) due() time.Duration {
	oldest, ok := w.builder.Oldest()
	if !ok {
		return 0
	}
	const least = 10 * time.Millisecond // in case the clock was set
	return max(w.clock.Due(oldest, w.now().UnixNano()), least)
}

// size returns the approximate memory of a tree in bytes.
func size(root *schema.Span) (bytes int) {
	const span, datum = 512, 96
	root.Walk(func(s *schema.Span) bool {
		bytes += span
		for i := range s.Data {
			bytes += datum + len(s.Data[i].Value.Bytes)
		}
		return true
	})
	return bytes
}
