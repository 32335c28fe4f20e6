// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sys/unix"

	"crypto-auditing/src/internal/probe"
)

// pipeline moves records from the ring into batches. It runs in one goroutine,
// the only one that touches the window; the committer takes the batches.
type pipeline struct {
	tracer    *probe.Tracer
	window    *window
	committer *committer
	losses    *losses
	log       *slog.Logger

	// coalesce is the length of a flush window.
	coalesce time.Duration
	// requests are flushes and rotations from other goroutines. Whoever sends
	// one wakes the ring.
	requests chan request

	record probe.Record
	// checked is when the kernel's loss counters were last read.
	checked uint64
	// answers are the requests that the next flush answers.
	answers []request
}

// request asks for everything probed so far to be durable.
type request struct {
	answer chan<- flushed
	rotate bool
}

// now returns CLOCK_BOOTTIME in nanoseconds, the clock of the records.
func now() uint64 {
	var t unix.Timespec
	// The kernel has this clock, so the call cannot fail.
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &t)
	return uint64(t.Nano())
}

// run works until ctx ends, then detaches, takes what is left in the ring and
// closes the committer's queue.
func (p *pipeline) run(ctx context.Context) error {
	defer p.committer.finish()
	stop := context.AfterFunc(ctx, p.tracer.Ring().Wake)
	defer stop()

	ring := p.tracer.Ring()
	// Records gather up to an eighth of the ring before the reader is woken:
	// far from full however late it is scheduled.
	mark := ring.Size() / 8
	var deadline uint64
	armed := false
	p.checked = now()
	for ctx.Err() == nil {
		ring.Drain(ring.Size(), p.take)
		p.accept()
		pending := !p.window.empty() || p.losses.pending()
		at := now()
		switch {
		case len(p.answers) > 0 || armed && at >= deadline:
			p.flush()
			armed = false
		case pending && !armed:
			armed, deadline = true, at+uint64(p.coalesce)
		case armed:
			if err := ring.Wait(mark, time.Duration(deadline-at)); err != nil {
				return err
			}
		default:
			if err := ring.Wait(1, -1); err != nil {
				return err
			}
		}
	}
	p.tracer.DetachAll()
	return p.drain()
}

// drain takes what is left in the ring after detaching.
func (p *pipeline) drain() error {
	ring := p.tracer.Ring()
	for ring.Waiting() > 0 {
		ring.Drain(ring.Size(), p.take)
		if ring.Waiting() > 0 {
			// A producer is still inside its last record.
			if err := ring.Wait(1, time.Millisecond); err != nil {
				return err
			}
		}
	}
	p.accept()
	p.flush()
	return nil
}

// accept takes the requests that have come in. What was probed before them is
// in the window now.
func (p *pipeline) accept() {
	if len(p.requests) == 0 {
		return
	}
	for n := len(p.requests); n > 0; n-- {
		p.answers = append(p.answers, <-p.requests)
	}
	// A record may have been finished between the last look at the ring and
	// the request.
	p.tracer.Ring().Drain(p.tracer.Ring().Size(), p.take)
}

// take adds one record to the window.
func (p *pipeline) take(raw []byte) {
	r := &p.record
	if err := p.tracer.Decode(raw, r); err != nil {
		p.losses.add(Undecodable, loss{1, 1}, p.checked)
		return
	}
	if r.NoArguments {
		p.losses.add(Unreadable, loss{1, 1}, r.Time)
		return
	}
	p.window.take(r)
	if p.window.full() {
		p.flush()
	}
}

// flush hands the window to the committer, with what was lost meanwhile.
func (p *pipeline) flush() {
	at := now()
	p.count(at)
	b := p.committer.get(p.tracer.Ring())
	if b == nil {
		// Nothing can be told now; the loss is told when there is room again.
		var dropped batch
		p.window.flush(&dropped)
		p.committer.drop(&dropped, p.committer.obstacle())
		p.refuse(fmt.Errorf("cannot flush: the queue to the disk is full"))
		return
	}
	p.window.flush(b)
	p.losses.record(b, at)
	b.requests = append(b.requests, p.answers...)
	p.answers = p.answers[:0]
	p.committer.put(b)
}

// refuse answers the waiting requests with an error.
func (p *pipeline) refuse(err error) {
	for _, r := range p.answers {
		r.answer <- flushed{err: err}
	}
	p.answers = p.answers[:0]
}

// count brings the losses up to date with the kernel's counters.
func (p *pipeline) count(at uint64) {
	p.losses.add(Unreadable, p.window.partly, p.checked)
	p.window.partly = loss{}
	lost, err := p.tracer.Losses()
	if err != nil {
		p.log.Error("counting losses", "error", err)
		return
	}
	p.losses.raise(RingFull, lossOf(lost[probe.RingFull]), p.checked)
	p.losses.raise(SpecMissing, lossOf(lost[probe.NoSite]), p.checked)
	p.checked = at
}

func lossOf(l probe.Loss) loss { return loss{l.Hits, l.Events} }
