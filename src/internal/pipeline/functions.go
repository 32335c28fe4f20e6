// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/exclude"
	"crypto-auditing/src/internal/function"
	"crypto-auditing/src/internal/layout"
	"crypto-auditing/src/internal/pipeline/join"
	"crypto-auditing/src/internal/pipeline/window"
	"crypto-auditing/src/internal/probe"
	"crypto-auditing/src/internal/schema"
	"crypto-auditing/src/internal/unitname"
)

// functions converts the calls of functions in the ring to operations.
type functions struct {
	source  *function.Source
	tracker *function.Tracker
	record  probe.Call
	call    function.Call
	// operations counts the operations that were written.
	operations uint64
	// units is nil if units are not recorded.
	units *unitname.Names
	// quarantined is documented in Functions.
	quarantined func(*function.QuarantineError)
	// stats are the tracker's statistics, for other goroutines.
	stats atomic.Pointer[function.Stats]
}

// Functions records the calls of functions that the tracer writes to the ring.
// quarantined is called by the pipeline's goroutine when a library must no longer be
// recorded; it must not block. Functions must be called before Run, and after Watch if
// that is called. units enables recording the names of units.
func (p *Pipeline) Functions(s *function.Source, r *schema.Registry, units bool, quarantined func(*function.QuarantineError)) {
	f := &functions{source: s, quarantined: quarantined}
	if units {
		f.units = unitname.New()
	}
	f.stats.Store(&function.Stats{})
	f.tracker = function.NewTracker(s, r, func(o *function.Operation) { p.function(o) }, quarantined)
	p.functions = f
	if p.join != nil {
		p.join.SetFunctions(f)
	}
}

// FunctionStats returns statistics of the recorded functions. It may be called from any
// goroutine, if Functions was called.
func (p *Pipeline) FunctionStats() function.Stats { return *p.functions.stats.Load() }

// function writes an operation of functions.
func (p *Pipeline) function(from *function.Operation) {
	// These numbers differ from the contexts of connections.handshake.
	const ours, numbers = 3 << 62, 8
	p.functions.operations++
	o := &join.Operation{
		Task: from.Task, Context: ours | p.functions.operations<<numbers&(1<<62-1), Start: from.Start, End: from.End,
		Executable: from.Executable, Source: event.Function, Origin: from.BuildID, Root: from.Root,
		Values: join.Values{Role: from.Role, Version: int64(from.Version), Suite: int64(from.Suite)},
	}
	if p.functions.units != nil {
		o.Unit = p.functions.units.Without(from.Unit)
	}
	o.AddGroup(int64(from.Group))
	if from.Handshake && p.join != nil {
		p.join.Report(o, p.window.RootOf(o))
	}
	p.write(o)
}

// take passes a record of the ring to the tracker.
func (f *functions) take(t *probe.Tracer, w *window.Window, e *exclude.Judge, raw []byte) error {
	r, c := &f.record, &f.call
	if err := t.DecodeCall(raw, r); err != nil {
		return err
	}
	if e.Hit(uint32(r.PIDTGID>>32), true, r.Executable) {
		return nil
	}
	*c = function.Call{
		Time: r.Time, Start: r.Start, Task: r.PIDTGID, Connection: r.Connection, Chain: r.Chain,
		Operation: layout.Operation(r.Operation), Late: r.Late, Executable: string(r.Executable), Unit: string(r.Unit),
		Value: func(id layout.ValueID) (uint32, bool) { return r.Value(uint8(id)) }, Unreadable: r.Unreadable(),
		Session: layout.Role(r.Role) == layout.SessionOperation, Algorithm: r.Algorithm, Data: r.Data,
		Input: r.Input, SetDigest: r.SetDigest, SetCurve: r.SetCurve, SetBits: r.SetBits, Type: string(r.Type), Digest: string(r.Digest), Group: string(r.Group),
	}
	switch r.Event {
	case probe.HandshakeCompleted:
		c.Kind = function.Completed
	case probe.HandshakeFailed:
		c.Kind = function.Failed
	case probe.HandshakeAbandoned:
		c.Kind = function.Abandoned
	case probe.ExchangeOver:
		c.Kind = function.Over
	case probe.ChainVerified:
		c.Kind = function.Chain
	case probe.KeyOperation:
		c.Kind = function.KeyOperation
	default:
		return fmt.Errorf("cannot decode a call: it has the event %d", r.Event)
	}
	if r.Library == nil {
		return fmt.Errorf("cannot decode a call: its library is forgotten")
	}
	c.BuildID = r.Library.BuildID
	r.Library.Hits.Add(1)
	w.Call(f.tracker.Add(c))
	return nil
}

// flushed expires handshakes and publishes the statistics at the end of a window.
func (f *functions) flushed(at uint64) {
	if f == nil {
		return
	}
	f.tracker.Expire(at)
	stats := f.tracker.Stats()
	f.stats.Store(&stats)
}

// finish writes everything that waits for the end of a handshake.
func (f *functions) finish() {
	if f != nil {
		f.tracker.Expire(math.MaxUint64)
	}
}

// wait returns how long an idle pipeline may wait; otherwise is the time without
// handshakes, negative for no limit.
func (f *functions) wait(otherwise time.Duration) time.Duration {
	if f == nil || f.tracker.Stats().Open == 0 {
		return otherwise
	}
	return shorter(otherwise, expireInterval)
}

// expire ends handshakes that do not end while the pipeline is idle.
func (f *functions) expire(at uint64) {
	if f != nil && f.tracker.Stats().Open > 0 {
		f.tracker.Expire(at)
	}
}

// Agree records that a library's handshake agrees with the one at the socket.
func (f *functions) Agree(h *join.Handshake) {
	if h.Origin != nil && h.Version != 0 && h.Suite != 0 {
		f.source.Agree(h.Origin)
	}
}

// Differ puts a library into quarantine whose handshake differs from the one at the
// socket, if that cannot be another handshake.
func (f *functions) Differ(candidates []*join.Handshake, o *join.Operation) {
	if len(candidates) != 1 || candidates[0].Origin == nil || candidates[0].Task != o.Task {
		return
	}
	h := candidates[0]
	err := f.source.Differ(h.Origin, fmt.Sprintf(
		"a handshake has version %#x, suite %#x and groups %#x at the socket, %#x, %#x and %#x in the library",
		o.Version, o.Suite, o.Groups(), h.Version, h.Suite, h.Groups()))
	if q, ok := err.(*function.QuarantineError); ok {
		f.quarantined(q)
	}
}
