// SPDX-License-Identifier: Apache-2.0

// Package pipeline converts the records in the ring to batches of entries. The sink
// receives the batches: a log, or a terminal.
package pipeline

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"math"
	"sync/atomic"
	"time"

	"crypto-auditing/src/internal/boottime"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/exclude"
	"crypto-auditing/src/internal/loss"
	"crypto-auditing/src/internal/message"
	"crypto-auditing/src/internal/pipeline/join"
	"crypto-auditing/src/internal/pipeline/window"
	"crypto-auditing/src/internal/probe"
	"crypto-auditing/src/internal/unitname"
)

// Sink receives batches, in order. Its methods are called by the pipeline's goroutine.
type Sink interface {
	// Batch returns an empty batch to fill. It may block; meanwhile hits remain in the
	// ring.
	Batch() *window.Batch
	// Put takes over a batch returned by Batch.
	Put(b *window.Batch)
	// Close is called after the last batch.
	Close()
}

// Options configure a Pipeline. All are required, except where a zero value is
// documented.
type Options struct {
	Tracer *probe.Tracer
	Sink   Sink
	Losses *loss.Counters
	Log    *slog.Logger
	// Exclude is what is not recorded; nil excludes nothing.
	Exclude *exclude.Set
	// Window is how long events of a context are collected.
	Window time.Duration
	// KeyLifetime is how long a context key is used; 0 for the lifetime of the pipeline.
	// KeyEnds is called by the sink after the last batch under the old key.
	KeyLifetime time.Duration
	KeyEnds     func()
}

// Pipeline moves records from the ring to batches. It runs in one goroutine, the only
// one that uses the window.
type Pipeline struct {
	tracer  *probe.Tracer
	window  *window.Window
	sink    Sink
	losses  *loss.Counters
	log     *slog.Logger
	keyEnds func()

	// coalesce is the length of a flush window, keyLifetime the lifetime of a context
	// key, both as a time.Duration. They may change at any time.
	coalesce, keyLifetime atomic.Int64
	// calls are from other goroutines, which wake the ring after sending.
	calls chan func()

	record  probe.Record
	exclude *exclude.Judge
	names   libraryNames
	// join is nil unless handshakes are recorded at sockets.
	join *join.Joiner
	// connections is nil unless handshakes are recorded at sockets.
	connections *connections
	// functions is nil unless calls of functions are recorded.
	functions *functions
	// checked is the time when the kernel's loss counters were last read.
	checked uint64
	// keyed is the time when the context key was created.
	keyed uint64
	// taken are the calls for the next batch.
	taken  []func()
	report loss.Report
}

// New returns a pipeline with a new context key.
func New(o Options) (*Pipeline, error) {
	cipher, err := newCipher()
	if err != nil {
		return nil, err
	}
	if o.Exclude == nil {
		o.Exclude = &exclude.Set{}
	}
	p := &Pipeline{
		exclude: exclude.NewJudge(o.Exclude, unitname.New().Without),
		tracer:  o.Tracer, window: window.New(cipher), sink: o.Sink, losses: o.Losses, log: o.Log, keyEnds: o.KeyEnds,
		calls: make(chan func(), 64), report: loss.Report{Log: o.Log},
	}
	p.SetTimes(o.Window, o.KeyLifetime)
	return p, nil
}

// newCipher returns a cipher for context ids with a new random key, which is stored
// nowhere else.
func newCipher() (*event.Cipher, error) {
	key := make([]byte, 16)
	if _, err := rand.Read(key); err != nil {
		return nil, fmt.Errorf("cannot make a context key: %w", err)
	}
	return event.NewCipher(key)
}

// SetTimes changes the flush window and the lifetime of context keys. It may be
// called from any goroutine.
func (p *Pipeline) SetTimes(window, keyLifetime time.Duration) {
	p.coalesce.Store(int64(window))
	p.keyLifetime.Store(int64(keyLifetime))
}

// After makes a call in the sink once that has everything captured before. It may be
// called from any goroutine.
func (p *Pipeline) After(ctx context.Context, call func()) error {
	select {
	case p.calls <- call:
	case <-ctx.Done():
		return ctx.Err()
	}
	p.tracer.Ring().Wake()
	return nil
}

// Run processes records until ctx is done, then detaches, processes the rest of the ring
// and closes the sink.
func (p *Pipeline) Run(ctx context.Context) error {
	defer p.sink.Close()
	ring := p.tracer.Ring()
	stop := context.AfterFunc(ctx, ring.Wake)
	defer stop()

	// The reader is woken at an eighth of the ring, which leaves enough room however
	// late it is scheduled.
	mark := ring.Size() / 8
	// A window is open while armed, until deadline. Losses to record also open one.
	armed, deadline := false, uint64(0)
	p.checked = boottime.Now()
	p.keyed = p.checked
	for ctx.Err() == nil {
		p.renewKey()
		ring.Drain(ring.Size(), p.take)
		p.accept()
		at := boottime.Now()
		p.connections.expire(at)
		p.functions.expire(at)
		if p.connections.due(at) {
			p.count(at)
		}
		switch {
		case len(p.taken) > 0 || armed && at >= deadline:
			// A process over its limit only adds losses and no records: check again until
			// that stops.
			armed = p.flush()
			deadline = at + uint64(p.coalesce.Load())
		case !armed && (!p.window.Empty() || p.connections != nil && p.connections.taken || p.losses.Pending()):
			armed, deadline = true, at+uint64(p.coalesce.Load())
		case armed:
			if err := ring.Wait(mark, time.Duration(deadline-at)); err != nil {
				return err
			}
		default:
			if p.report.Due(at) {
				p.report.Update(at, p.losses.List())
			}
			if err := ring.Wait(1, p.functions.wait(p.connections.wait(p.report.Wait(at)))); err != nil {
				return err
			}
		}
	}
	p.tracer.DetachAll()
	if p.connections != nil {
		if err := p.connections.source.Detach(); err != nil {
			p.log.Warn("cannot detach from sockets", "error", err)
		}
	}
	return p.drain()
}

// drain processes the rest of the ring after detaching.
func (p *Pipeline) drain() error {
	ring := p.tracer.Ring()
	for ring.Waiting() > 0 {
		ring.Drain(ring.Size(), p.take)
		if ring.Waiting() > 0 {
			// A producer is still writing its last record.
			if err := ring.Wait(1, time.Millisecond); err != nil {
				return err
			}
		}
	}
	p.accept()
	if c := p.connections; c != nil {
		c.tracker.Expire(math.MaxUint64)
		c.counted = 0
	}
	p.functions.finish()
	p.settle(true)
	p.push()
	return nil
}

// accept accepts the pending calls. Everything captured before them is in the window
// afterwards.
func (p *Pipeline) accept() {
	n := len(p.calls)
	for range n {
		p.taken = append(p.taken, <-p.calls)
	}
	if n > 0 {
		// A record may have been completed between the last drain and the call.
		p.tracer.Ring().Drain(p.tracer.Ring().Size(), p.take)
	}
}

// take processes one record.
func (p *Pipeline) take(raw []byte) {
	decoded := true
	switch kind := probe.KindOf(raw); {
	case kind == probe.Hit:
		p.hit(raw)
	case kind == probe.Owned:
		p.owner(raw)
	case kind == probe.Piece && p.connections != nil:
		decoded = p.connections.take(raw) == nil
	case kind == probe.Function && p.functions != nil:
		decoded = p.functions.take(p.tracer, p.window, p.exclude, raw) == nil
	default:
		decoded = false
	}
	if !decoded {
		p.losses.Add(loss.Undecodable, loss.Count{Hits: 1, Events: 1}, p.checked)
	}
	if p.window.Full() {
		p.flush()
	}
}

// hit adds a hit to the window.
func (p *Pipeline) hit(raw []byte) {
	r := &p.record
	if err := p.tracer.Decode(raw, r); err != nil {
		p.losses.Add(loss.Undecodable, loss.Count{Hits: 1, Events: 1}, p.checked)
		return
	}
	if p.exclude.Hit(uint32(r.PIDTGID>>32), r.NewContext, r.Executable) {
		return
	}
	if r.NoArguments {
		p.losses.Add(loss.Unreadable, loss.Count{Hits: 1, Events: 1}, r.Time)
		return
	}
	p.window.Take(r)
}

// owner stores the owner of the process of the next hit.
func (p *Pipeline) owner(raw []byte) {
	o, err := probe.DecodeOwner(raw)
	if err != nil {
		p.losses.Add(loss.Undecodable, loss.Count{Events: 1}, p.checked)
		return
	}
	p.exclude.Owner(o.Process, o.User, o.Unit)
}

// flush ends the window. It reports whether the kernel lost hits since the last flush.
func (p *Pipeline) flush() (losing bool) {
	p.settle(false)
	return p.push()
}

// push passes the window to the sink, with the losses since the last batch.
func (p *Pipeline) push() (losing bool) {
	b := p.sink.Batch()
	at := boottime.Now()
	if len(p.taken) > 0 && p.connections != nil {
		// A call must see everything up to now.
		p.connections.counted = 0
	}
	losing = p.count(at)
	if p.window.Groups() > 0 {
		p.names.take(b, at)
	}
	p.window.Flush(b)
	p.connections.flushed()
	p.functions.flushed(at)
	b.Lose(p.losses, at)
	b.Then = append(b.Then, p.taken...)
	p.taken = p.taken[:0]
	p.sink.Put(b)
	p.report.Update(at, p.losses.List())
	return losing
}

// count updates the losses from the kernel's counters. It reports whether there are new
// ones.
func (p *Pipeline) count(at uint64) (more bool) {
	unreadable, oversize := p.window.Missing()
	p.losses.Add(loss.Unreadable, loss.Count{Events: unreadable}, p.checked)
	p.losses.Add(loss.Oversize, loss.Count{Events: oversize}, p.checked)
	lost, err := p.tracer.Losses()
	if err != nil {
		p.log.Error("cannot count losses", "error", err)
		return false
	}
	for _, l := range lost {
		if p.losses.Raise(l.Reason, loss.Count{Hits: l.Hits, Events: l.Events}, p.checked) {
			more = true
		}
	}
	wire, err := p.connections.count(at, p.checked)
	if err != nil {
		p.log.Error("cannot count losses", "error", err)
	}
	p.checked = at
	return more || wire
}

// renewKey creates a new context key if the lifetime of the old one has expired. It does
// not wake an idle agent: the key only matters when something is recorded.
func (p *Pipeline) renewKey() {
	lifetime := uint64(p.keyLifetime.Load())
	at := boottime.Now()
	if lifetime == 0 || at-p.keyed < lifetime {
		return
	}
	cipher, err := newCipher()
	if err != nil {
		p.log.Error("cannot renew the context key; the old one stays in use", "error", err)
		p.keyed = at
		return
	}
	p.settle(true)
	p.taken = append(p.taken, p.keyEnds)
	p.push()
	p.window.Renew(cipher)
	p.keyed = at
	b := p.sink.Batch()
	b.Entries = event.AppendNewKey(b.Entries, at)
	b.EndNotice(at, at)
	p.sink.Put(b)
	message.ContextKeyRenewed.Log(p.log)
}
