// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/message"
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

	// coalesce is the length of a flush window, as a time.Duration. It may be
	// changed at any time.
	coalesce atomic.Int64
	// keyLifetime is how long a context key is used, as a time.Duration; 0:
	// until the agent stops. newCipher makes the next.
	keyLifetime atomic.Int64
	newCipher   func() (*event.Cipher, error)
	// requests come from other goroutines. Whoever sends one wakes the ring.
	requests chan request

	record probe.Record
	// checked is when the kernel's loss counters were last read.
	checked uint64
	// keyed is when the context key was made.
	keyed uint64
	// taken are the requests that the next flush answers.
	taken  []request
	report lossReport
}

// The kinds of requests.
type requestKind uint8

const (
	// flushRequest asks for everything probed so far to be durable.
	flushRequest requestKind = iota
	// rotateRequest asks for a new segment behind it.
	rotateRequest
	// aliveRequest asks only for an answer.
	aliveRequest
)

// request is answered behind everything that was probed before it.
type request struct {
	kind   requestKind
	answer chan<- flushed
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
	ring := p.tracer.Ring()
	stop := context.AfterFunc(ctx, ring.Wake)
	defer stop()

	// Records gather up to an eighth of the ring before the reader is woken:
	// far from full however late it is scheduled.
	mark := ring.Size() / 8
	// A window is open while armed, until deadline. It also opens when losses
	// wait to be told.
	armed, deadline := false, uint64(0)
	p.checked = now()
	p.keyed, p.report.log = p.checked, p.log
	for ctx.Err() == nil {
		p.renewKey()
		ring.Drain(ring.Size(), p.take)
		p.accept()
		at := now()
		switch {
		case len(p.taken) > 0 || armed && at >= deadline:
			// A process over its limit adds to the losses and not to the ring:
			// look again until that stops.
			armed = p.flush()
			deadline = at + uint64(p.coalesce.Load())
		case !armed && (!p.window.empty() || p.losses.pending()):
			armed, deadline = true, at+uint64(p.coalesce.Load())
		case armed:
			if err := ring.Wait(mark, time.Duration(deadline-at)); err != nil {
				return err
			}
		default:
			if p.report.due(at) {
				p.report.update(at, p.losses.list())
			}
			if err := ring.Wait(1, p.report.wait(at)); err != nil {
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
// in the window then.
func (p *pipeline) accept() {
	n := len(p.requests)
	for range n {
		p.taken = append(p.taken, <-p.requests)
	}
	if n > 0 {
		// A record may have been finished between the last look at the ring
		// and the request.
		p.tracer.Ring().Drain(p.tracer.Ring().Size(), p.take)
	}
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

// flush hands the window to the committer, with what was lost meanwhile. It
// reports whether the kernel lost something since the last time.
func (p *pipeline) flush() (losing bool) {
	b := p.committer.get()
	at := now()
	losing = p.count(at)
	p.window.flush(b)
	p.losses.record(b, at)
	b.requests = append(b.requests, p.taken...)
	p.taken = p.taken[:0]
	p.committer.put(b)
	p.report.update(at, p.losses.list())
	return losing
}

// count brings the losses up to date with the kernel's counters. It reports
// whether there are new ones.
func (p *pipeline) count(at uint64) (more bool) {
	p.losses.add(Unreadable, loss{events: p.window.unreadable}, p.checked)
	p.losses.add(Oversize, loss{events: p.window.oversize}, p.checked)
	p.window.unreadable, p.window.oversize = 0, 0
	lost, err := p.tracer.Losses()
	if err != nil {
		p.log.Error("cannot count losses", "error", err)
		return false
	}
	for kernel, reason := range map[probe.LossReason]Reason{
		probe.RingFull: RingFull, probe.NoSite: SpecMissing, probe.RateLimit: RateLimit,
	} {
		l := lost[kernel]
		if p.losses.raise(reason, loss{l.Hits, l.Events}, p.checked) {
			more = true
		}
	}
	p.checked = at
	return more
}

// renewKey begins a segment with a new context key when the old one has
// served its time. Nothing wakes an idle agent for it: the key matters when
// something is recorded.
func (p *pipeline) renewKey() {
	lifetime := uint64(p.keyLifetime.Load())
	at := now()
	if lifetime == 0 || at-p.keyed < lifetime {
		return
	}
	cipher, err := p.newCipher()
	if err != nil {
		p.log.Error("cannot renew the context key; the old one stays in use", "error", err)
		p.keyed = at
		return
	}
	answer := make(chan flushed, 1)
	p.taken = append(p.taken, request{kind: rotateRequest, answer: answer})
	p.flush()
	p.window.renew(cipher)
	p.keyed = at
	b := p.committer.get()
	b.entries = event.AppendNewKey(b.entries, at)
	b.count, b.notice = 1, true
	b.span(at, at)
	p.committer.put(b)
	message.ContextKeyRenewed.Log(p.log)
}
