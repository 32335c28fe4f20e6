// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"sync/atomic"
	"time"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/exclude"
	"crypto-auditing/src/internal/loss"
	"crypto-auditing/src/internal/probe/sockets"
	"crypto-auditing/src/internal/status"
	"crypto-auditing/src/internal/wire"
	"crypto-auditing/src/internal/wire/tls"
)

// connections makes operations of the pieces of connections in the ring.
type connections struct {
	source  *sockets.Source
	tracker *wire.Tracker
	losses  *loss.Counters

	piece    sockets.Piece
	fragment wire.Fragment
	// taken: pieces were taken since the last flush.
	taken bool
	// counted is when losses were last counted, expired when connections that do
	// not end were last looked for, in nanoseconds since boot.
	counted, expired uint64
	// units is nil if operations have no units.
	units *unitNames
	// handshakes counts those that were seen.
	handshakes uint64
	// stats are the tracker's, for other goroutines.
	stats   atomic.Pointer[Seen]
	exclude *exclude.Judge
	// excluded counts handshakes that are not recorded.
	excluded uint64
}

// Seen counts ends of connections. Those of Excluded are Decoded or Cut, too.
type Seen struct {
	wire.Stats
	// Excluded had a handshake of a program that is not to be recorded.
	Excluded uint64
}

const (
	// countInterval is how often the losses of connections are counted at most.
	countInterval = uint64(time.Second)
	// expireInterval is how often connections that do not end are looked at.
	expireInterval = 5 * time.Second
)

// Sockets say how handshakes at sockets are recorded.
type Sockets struct {
	Source *sockets.Source
	// Units: they have the names of their units.
	Units bool
	// Suspect reports whether executables of a base name are known to pass on
	// handshakes of others through one socket. It is called by the pipeline's
	// goroutine.
	Suspect func(executable string) bool
}

// Watch has the pipeline record handshakes by the pieces that the source puts
// into the ring, until Run ends, which detaches it. It must be called before Run.
func (p *Pipeline) Watch(s Sockets) {
	p.connections = &connections{source: s.Source, losses: p.losses, exclude: p.exclude}
	if s.Units {
		p.connections.units = newUnitNames()
	}
	p.window.join = newJoiner()
	p.connections.stats.Store(&Seen{})
	p.connections.tracker = wire.NewTracker(wire.DefaultLimits(), s.Suspect, func(h *wire.Handshake) {
		if p.exclude.Handshake(&exclude.Program{
			// The names come with the user.
			Executable: h.Executable, Owned: h.Executable != "", User: h.User, Unit: h.Unit,
		}) {
			p.connections.leaveOut(h, p.window.join)
			return
		}
		if o := p.connections.handshake(h); o.role == "" || !p.window.join.offer(o) {
			p.write(o)
		}
	})
}

// Connections returns counts of the connections that were followed, and of the
// handshakes by executable. It may be called from any goroutine, if Watch was
// called.
func (p *Pipeline) Connections() (Seen, []status.Coverage) {
	return *p.connections.stats.Load(), p.window.join.list()
}

// settle writes the handshakes of sockets that have waited for a library to report
// them, for long enough, or all.
func (p *Pipeline) settle(all bool) {
	if p.window.join != nil {
		p.window.join.settle(all, p.write, p.window.complete, p.window.contradict)
	}
}

// write writes an operation. There may be any number at a time.
func (p *Pipeline) write(o *operation) {
	p.window.operation(o)
	if p.window.full() {
		p.push()
	}
}

// take gives a record of the ring to the tracker.
func (c *connections) take(raw []byte) error {
	p := &c.piece
	if err := sockets.Decode(raw, p); err != nil {
		return err
	}
	c.taken = true
	c.fragment = wire.Fragment{
		Time: p.Time, Task: p.PIDTGID, Connection: p.Connection, Pair: p.Pair,
		Offset: p.Offset, Protocol: wire.Protocol(p.Protocol), Received: p.Received,
		End: p.End, Invalid: p.Invalid, Cut: p.Cut, Closed: p.Closed,
		Executable: p.Executable, Unit: p.Unit, User: p.User, Data: p.Data,
	}
	c.tracker.Add(&c.fragment)
	return nil
}

// flushed ends a window.
func (c *connections) flushed() {
	if c != nil && c.taken {
		c.taken = false
		c.stats.Store(&Seen{c.tracker.Stats(), c.excluded})
	}
}

// expire gives up connections that have taken too long.
func (c *connections) expire(at uint64) {
	if c != nil && at-c.expired >= uint64(expireInterval) {
		c.expired = at
		c.tracker.Expire(at)
	}
}

// count counts what was lost since the time that is given. It reports whether
// that is more than before.
func (c *connections) count(at, since uint64) (more bool, err error) {
	if c == nil || at-c.counted < countInterval {
		return false, nil
	}
	c.counted = at
	counts, err := c.source.Counts()
	if err != nil {
		return false, err
	}
	lost := append(counts.Lost, loss.Loss{Reason: loss.WireEvicted, Events: c.tracker.Stats().Evicted})
	for _, l := range lost {
		if c.losses.Raise(l.Reason, loss.Count{Events: l.Events}, since) {
			more = true
		}
	}
	return more, nil
}

// wait returns how long an idle pipeline may wait that would wait for a time
// otherwise; negative: without end.
func (c *connections) wait(otherwise time.Duration) time.Duration {
	if c == nil || c.tracker.Stats().Open == 0 || otherwise >= 0 && otherwise < expireInterval {
		return otherwise
	}
	return expireInterval
}

// leaveOut counts a handshake that is not recorded.
func (c *connections) leaveOut(h *wire.Handshake, j *joiner) {
	c.excluded++
	if h.Protocol != wire.SSH {
		j.count(h.Executable, func(c *status.Coverage) { c.Excluded++ })
	}
}

// handshake returns a handshake as an operation.
func (c *connections) handshake(h *wire.Handshake) *operation {
	// Contexts of programs are addresses, as a rule, or small numbers.
	const ours, numbers = 1 << 63, 8
	c.handshakes++
	o := &operation{
		task: h.Task, context: ours | c.handshakes<<numbers, start: h.Start, end: h.End,
		executable: h.Executable, source: event.Wire, root: h.Operation(),
	}
	if c.units != nil {
		o.unit = c.units.without(h.Unit)
	}
	if h.Protocol != wire.SSH {
		o.version, o.suite = int64(h.TLS.Version), int64(h.TLS.Suite)
		o.addGroup(int64(h.TLS.Group))
		switch h.TLS.Role {
		case tls.Client:
			o.role = "client"
		case tls.Server:
			o.role = "server"
		}
	}
	return o
}
