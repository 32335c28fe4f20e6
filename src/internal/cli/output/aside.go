// SPDX-License-Identifier: Apache-2.0

package output

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"crypto-auditing/src/internal/schema"
)

// Items are printed in batches of batchSize, at most batches of them at the same time. A
// batch is sent earlier if its items are older than maxDelay, so that rare items appear
// without delay.
const (
	batchSize = 64
	batches   = 8
	maxDelay  = 100 * time.Millisecond
)

// aside prints items in order in a separate goroutine, while further trees are built.
// The other methods must be used by one goroutine only.
type aside struct {
	ctx     context.Context // of the query
	out     *Output
	release func(*schema.Span) // reuses trees

	batch []Item
	sent  time.Time // when the last batch was sent
	dirty bool      // items may not be written yet
	work  chan work
	// printed are batches that were printed and can be reused.
	printed chan []Item
	failed  atomic.Pointer[error]
	printer sync.WaitGroup
	stuck   bool
}

// work is a batch to print.
type work struct {
	items []Item
	flush bool
}

// PrintAside makes Print use another goroutine. It calls release with each tree that was
// printed.
func (o *Output) PrintAside(ctx context.Context, release func(*schema.Span)) {
	a := &aside{
		ctx: ctx, out: o, release: release, sent: time.Now(),
		batch: make([]Item, 0, batchSize), work: make(chan work, batches), printed: make(chan []Item, batches),
	}
	for range batches - 1 {
		a.printed <- make([]Item, 0, batchSize)
	}
	a.printer.Go(a.run)
	o.aside = a
}

func (a *aside) run() {
	var err error
	for w := range a.work {
		for i := range w.items {
			if err == nil {
				err = a.out.write(&w.items[i])
			}
		}
		if w.flush && err == nil {
			err = a.out.flushBuffer()
		}
		if err != nil {
			a.failed.Store(&err)
		}
		a.printed <- w.items
	}
}

// err returns the error that ended printing.
func (a *aside) err() error {
	if err := a.failed.Load(); err != nil {
		return *err
	}
	return nil
}

func (a *aside) add(i Item) error {
	a.batch = append(a.batch, i)
	a.dirty = true
	if len(a.batch) == batchSize {
		a.send(false)
	}
	return a.err()
}

func (a *aside) tick() error {
	if a.dirty && time.Since(a.sent) > maxDelay {
		a.send(true)
		a.dirty = false
	}
	return a.err()
}

func (a *aside) flush() error {
	a.send(true)
	a.dirty = false
	return a.err()
}

// send sends the batch to the printer and gets a printed batch for reuse.
func (a *aside) send(flush bool) {
	if a.stuck {
		a.batch = a.batch[:0]
		return
	}
	a.work <- work{a.batch, flush}
	a.sent = time.Now()
	select {
	case a.batch = <-a.printed:
	case <-a.ctx.Done():
		// A write that blocks must not delay the end of the query.
		select {
		case a.batch = <-a.printed:
		case <-time.After(time.Second):
			a.stuck, a.batch = true, nil
			return
		}
	}
	for i := range a.batch {
		if root := a.batch[i].Root; root != nil {
			a.release(root)
		}
	}
	clear(a.batch)
	a.batch = a.batch[:0]
}

// close waits until all items are printed, or, once the context is done, for at most one
// second.
func (a *aside) close() error {
	a.send(false)
	close(a.work)
	if a.stuck {
		return a.ctx.Err()
	}
	done := make(chan struct{})
	go func() {
		a.printer.Wait()
		close(done)
	}()
	select {
	case <-done:
		return a.err()
	case <-a.ctx.Done():
	}
	select {
	case <-done:
		return a.err()
	case <-time.After(time.Second):
		a.stuck = true
		return a.ctx.Err()
	}
}
