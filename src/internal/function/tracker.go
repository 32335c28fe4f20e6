// SPDX-License-Identifier: Apache-2.0

package function

import (
	"container/list"

	"crypto-auditing/src/internal/layout"
	"crypto-auditing/src/internal/schema"
	"crypto-auditing/src/internal/wire"
)

// Kind is the kind of a Call.
type Kind uint8

// The kinds.
const (
	// Completed, Failed, Abandoned: a handshake has ended; Abandoned: its connection
	// was freed before the end.
	Completed Kind = 1 + iota
	Failed
	Abandoned
	// Over: an exchange after the handshake has ended.
	Over
	// Chain: the verification of a certificate chain begins.
	Chain
	// KeyOperation is an operation with a public or private key.
	KeyOperation
)

// Call is a record of the BPF programs. The tracker keeps no reference to its memory.
type Call struct {
	// Time is the time of the call, Start the beginning of the handshake, both in
	// nanoseconds since boot.
	Time, Start uint64
	// Task is the kernel's id: process in the upper half, thread in the lower.
	Task uint64
	// Connection identifies a handshake, Chain the verification of a chain; 0: none.
	Connection uint64
	Chain      uint32
	Kind       Kind
	Operation  layout.Operation
	// Late: the handshake began before the first hit.
	Late       bool
	Executable string
	// Unit is the nearest service or scope, empty if there is none.
	Unit    string
	BuildID []byte
	// Value returns a value, false if the record does not have it. Unreadable: for some
	// values, the memory of the program could not be read.
	Value      func(layout.ValueID) (uint32, bool)
	Unreadable bool
	// Input is the length of the signed or verified data in bytes, 0: unknown. The
	// others were set on the context: NIDs, and the size of a key in bits.
	Input, SetDigest, SetCurve, SetBits uint32
	// Type, Digest and Group are names; empty: unknown.
	Type, Digest, Group string
	// Session: it is an operation of GnuTLS, whose Algorithm is the number of the key's
	// algorithm. Data has the first bytes of the signed data, as far as they were read.
	Session   bool
	Algorithm uint32
	Data      []byte
}

// Operation is built from one or several calls: a handshake, or an operation outside
// of a handshake.
type Operation struct {
	Task, Start, End uint64
	Executable, Unit string
	// BuildID is the build-id of the root context's library. Contexts of other
	// libraries have their own.
	BuildID []byte
	Root    wire.Context
	// Handshake reports a TLS handshake, with its Role ("client" or "server"), Version,
	// Suite and Group; 0: unknown.
	Handshake             bool
	Role                  string
	Version, Suite, Group uint16
}

// Limits of handshakes that have not ended.
const (
	// maxOpen bounds the number of such handshakes.
	maxOpen = 16384
	// maxParts bounds the operations that are kept of a handshake. Most have fewer
	// than ten; a chain has one for each certificate.
	maxParts = 64
	// openTime is the time that a handshake is kept after its last operation, in
	// nanoseconds. Then its operations are emitted on their own.
	openTime = 60e9
)

// Stats are the counters of a Tracker.
type Stats struct {
	// Handshakes and Operations count what was emitted, Refused the records with an
	// impossible value, Unreadable those of handshakes whose values could not be read,
	// Surplus the operations beyond maxParts of a handshake. Open is the number of
	// handshakes that have not ended.
	Handshakes, Operations, Refused, Unreadable, Surplus uint64
	Open                                                 int
}

// Tracker builds operations from calls. It must be used by one goroutine only.
type Tracker struct {
	source *Source
	emit   func(*Operation)
	// quarantined is called when a library is put into quarantine.
	quarantined func(*QuarantineError)
	registered  *registered
	open        map[uint64]*list.Element // of *handshake
	order       *list.List               // by the last operation
	stats       Stats
}

// handshake is a handshake that has not ended.
type handshake struct {
	connection, last uint64
	parts            []part
}

// part is an operation within a handshake.
type part struct {
	operation   *Operation
	kind        layout.Operation
	chain       uint32
	peersChain  bool
	verifyChain bool // it is the verification of a chain itself
}

// NewTracker returns a tracker that calls emit with each operation, and quarantined with
// each library that the source puts into quarantine.
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

// Add processes a call. It returns 1 if the call is a handshake that is not recorded because
// memory of the program could not be read, else 0.
func (t *Tracker) Add(c *Call) (unreadable uint64) {
	if standing := t.source.Standing(c.BuildID); standing.Quarantine != nil {
		t.stats.Refused++
		return 0
	}
	switch c.Kind {
	case Completed, Failed, Abandoned:
		return t.end(c)
	case Over:
		t.release(t.take(c.Connection))
	case Chain:
		t.hold(c, part{chain: c.Chain, verifyChain: true, peersChain: peersChain(c)})
	case KeyOperation:
		read := t.registered.keyOperation
		if c.Session {
			read = t.registered.sessionOperation
		}
		o, problem := read(c)
		if problem != "" {
			t.refuse(c, problem)
			return 0
		}
		if o == nil {
			return 0
		}
		if c.Connection == 0 {
			t.give(o)
			return 0
		}
		t.hold(c, part{operation: o, kind: c.Operation, chain: c.Chain})
	}
	return 0
}

// refuse records an impossible value of a call.
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

// hold keeps a part of a handshake until the handshake ends.
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
			// The operation is valid without its handshake.
			t.give(p.operation)
		}
		return
	}
	h.parts = append(h.parts, p)
}

// take removes a handshake and returns it, nil if there is none.
func (t *Tracker) take(connection uint64) *handshake {
	e := t.open[connection]
	if e == nil {
		return nil
	}
	delete(t.open, connection)
	return t.order.Remove(e).(*handshake)
}

// release emits the operations of a handshake on their own.
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

// Expire emits the operations of handshakes whose last operation is older than openTime.
// at is the current time in nanoseconds since boot.
func (t *Tracker) Expire(at uint64) {
	for t.order.Len() > 0 {
		h := t.order.Front().Value.(*handshake)
		if at < h.last+openTime {
			return
		}
		t.release(t.take(h.connection))
	}
}

// end emits a handshake, unless values that it needs could not be read: then it returns 1.
// Without its state, a handshake that was completed looks like an abandoned one.
func (t *Tracker) end(c *Call) (unreadable uint64) {
	h := t.take(c.Connection)
	o, problem := t.registered.handshake(c, h)
	switch {
	case c.Unreadable && (problem != "" || c.Kind == Abandoned):
		t.stats.Unreadable++
		t.release(h)
		return 1
	case problem != "":
		t.refuse(c, problem)
		t.release(h)
	case o == nil:
		t.release(h)
	default:
		t.give(o)
	}
	return 0
}
