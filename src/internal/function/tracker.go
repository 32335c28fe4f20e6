// SPDX-License-Identifier: Apache-2.0

package function

import (
	"container/list"

	"crypto-auditing/src/internal/layout"
	"crypto-auditing/src/internal/schema"
	"crypto-auditing/src/internal/wire"
)

// Kind is what a Call reports.
type Kind uint8

// The kinds.
const (
	// Completed, Failed, Abandoned: a handshake has ended so, the last one because its
	// connection was freed.
	Completed Kind = 1 + iota
	Failed
	Abandoned
	// Over: an exchange after the handshake is over.
	Over
	// Chain: the verification of a certificate chain begins.
	Chain
	// KeyOperation is an operation with a public or private key.
	KeyOperation
)

// Call is a record of the programs. The tracker keeps none of its memory.
type Call struct {
	// Time and Start, when the handshake began, are in nanoseconds since boot.
	Time, Start uint64
	// Task is the kernel's: process in the upper half, thread in the lower.
	Task uint64
	// Connection numbers handshakes, Chain the verifications of chains; 0: none.
	Connection uint64
	Chain      uint32
	Kind       Kind
	Operation  layout.Operation
	// Late: the handshake had begun before the first hit.
	Late       bool
	Executable string
	BuildID    []byte
	// Value returns a value, false if there is none.
	Value func(layout.ValueID) (uint32, bool)
	// Input is the length of what is signed or verified, 0: unknown. The others
	// were set on the context: NIDs, and the size of a key.
	Input, SetDigest, SetCurve, SetBits uint32
	// Type, Digest and Group are names; empty: not known.
	Type, Digest, Group string
}

// Operation is what one or several calls were: a handshake, or an operation outside
// of one.
type Operation struct {
	Task, Start, End uint64
	Executable       string
	// BuildID is that of the library of the root. Contexts of others have their
	// own.
	BuildID []byte
	Root    wire.Context
	// Handshake: Role ("client" or "server"), Version, Suite and Group are those of a
	// TLS handshake; 0: not known.
	Handshake             bool
	Role                  string
	Version, Suite, Group uint16
}

// Limits of what waits for the end of its handshake.
const (
	// maxOpen is how many handshakes are remembered.
	maxOpen = 16384
	// maxParts is how many operations of a handshake are remembered. Most have
	// fewer than ten; a chain has one for each certificate.
	maxParts = 64
	// openTime is how long a handshake is remembered after its last operation, in
	// nanoseconds. Operations of one that takes longer stand for themselves.
	openTime = 60e9
)

// Stats counts what a Tracker has seen.
type Stats struct {
	// Handshakes and Operations count what was given out, Refused the records in
	// which a value cannot be, Surplus the operations of handshakes with more than
	// maxParts. Open is the number of handshakes that wait for their end.
	Handshakes, Operations, Refused, Surplus uint64
	Open                                     int
}

// Tracker makes operations of calls. It is used by one goroutine.
type Tracker struct {
	source *Source
	emit   func(*Operation)
	// quarantined is called when a library is in quarantine from now on.
	quarantined func(*QuarantineError)
	registered  *registered
	open        map[uint64]*list.Element // of *handshake
	order       *list.List               // by the last operation
	stats       Stats
}

// handshake is what is known of one before its end.
type handshake struct {
	connection, last uint64
	parts            []part
}

// part is an operation inside of a handshake.
type part struct {
	operation   *Operation
	kind        layout.Operation
	chain       uint32
	peersChain  bool
	verifyChain bool // is the verification of a chain itself
}

// NewTracker returns a tracker that gives operations to emit, and the libraries that
// the source has put into quarantine to quarantined.
func NewTracker(s *Source, r *schema.Registry, emit func(*Operation), quarantined func(*QuarantineError)) *Tracker {
	return &Tracker{
		source: s, emit: emit, quarantined: quarantined, registered: newRegistered(r),
		open: map[uint64]*list.Element{}, order: list.New(),
	}
}

// Stats returns the counters.
func (t *Tracker) Stats() Stats {
	s := t.stats
	s.Open = len(t.open)
	return s
}

// Add takes a call.
func (t *Tracker) Add(c *Call) {
	if standing := t.source.Standing(c.BuildID); standing.Quarantine != nil {
		t.stats.Refused++
		return
	}
	switch c.Kind {
	case Completed, Failed, Abandoned:
		t.end(c)
	case Over:
		t.release(t.take(c.Connection))
	case Chain:
		t.hold(c, part{chain: c.Chain, verifyChain: true, peersChain: peersChain(c)})
	case KeyOperation:
		o, problem := t.registered.keyOperation(c)
		if problem != "" {
			t.refuse(c, problem)
			return
		}
		if c.Connection == 0 {
			t.give(o)
			return
		}
		t.hold(c, part{operation: o, kind: c.Operation, chain: c.Chain})
	}
}

// refuse notes that a value of a call cannot be.
func (t *Tracker) refuse(c *Call, problem string) {
	t.stats.Refused++
	if err := t.source.Refuse(c.BuildID, problem); err != nil {
		t.quarantined(err.(*QuarantineError))
	}
}

func (t *Tracker) give(o *Operation) {
	if o.Handshake {
		t.stats.Handshakes++
	} else {
		t.stats.Operations++
	}
	t.emit(o)
}

// hold keeps a part of a handshake until its end.
func (t *Tracker) hold(c *Call, p part) {
	e := t.open[c.Connection]
	if e == nil {
		if len(t.open) >= maxOpen {
			t.release(t.take(t.order.Front().Value.(*handshake).connection))
		}
		e = t.order.PushBack(&handshake{connection: c.Connection})
		t.open[c.Connection] = e
	}
	h := e.Value.(*handshake)
	h.last = c.Time
	t.order.MoveToBack(e)
	if len(h.parts) >= maxParts {
		t.stats.Surplus++
		if p.operation != nil {
			// It is no less true for that.
			t.give(p.operation)
		}
		return
	}
	h.parts = append(h.parts, p)
}

// take forgets a handshake and returns it, nil if there is none.
func (t *Tracker) take(connection uint64) *handshake {
	e := t.open[connection]
	if e == nil {
		return nil
	}
	delete(t.open, connection)
	return t.order.Remove(e).(*handshake)
}

// release gives out the operations of a handshake for themselves.
func (t *Tracker) release(h *handshake) {
	if h == nil {
		return
	}
	for _, p := range h.parts {
		if p.operation != nil {
			t.give(p.operation)
		}
	}
}

// Expire gives out the operations of handshakes that have not ended for long. The
// time is in nanoseconds since boot.
func (t *Tracker) Expire(at uint64) {
	for t.order.Len() > 0 {
		h := t.order.Front().Value.(*handshake)
		if at < h.last+openTime {
			return
		}
		t.release(t.take(h.connection))
	}
}

// end gives out a handshake.
func (t *Tracker) end(c *Call) {
	h := t.take(c.Connection)
	o, problem := t.registered.handshake(c, h)
	switch {
	case problem != "":
		t.refuse(c, problem)
		t.release(h)
	case o == nil:
		t.release(h)
	default:
		t.give(o)
	}
}
