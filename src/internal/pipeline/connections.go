// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"sync/atomic"
	"time"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/exclude"
	"crypto-auditing/src/internal/loss"
	"crypto-auditing/src/internal/pipeline/join"
	"crypto-auditing/src/internal/probe/sockets"
	"crypto-auditing/src/internal/status"
	"crypto-auditing/src/internal/unitname"
	"crypto-auditing/src/internal/wire"
	"crypto-auditing/src/internal/wire/tls"
)

// connections converts the pieces of connections in the ring to operations.
type connections struct {
	source  *sockets.Source
	tracker *wire.Tracker
	losses  *loss.Counters

	piece    sockets.Piece
	fragment wire.Fragment
	// taken: pieces were processed since the last flush.
	taken bool
	// counted is the time when losses were last counted, expired the time of the last
	// check for connections that do not end, in nanoseconds since boot.
	counted, expired uint64
	// units is nil if units are not recorded.
	units *unitname.Names
	// handshakes counts the handshakes that were seen.
	handshakes uint64
	// stats are the tracker's statistics, for other goroutines.
	stats   atomic.Pointer[ConnectionStats]
	exclude *exclude.Judge
	// excluded counts handshakes that are not recorded.
	excluded uint64
}

// ConnectionStats counts ends of connections. Excluded ones are also counted in Decoded or Cut.
type ConnectionStats struct {
	wire.Stats
	// Excluded counts handshakes of programs that are excluded.
	Excluded uint64
}

const (
	// countInterval is the shortest interval at which losses of connections are counted.
	countInterval = uint64(time.Second)
	// idleCountInterval is the longest one: a connection that is lost as a whole writes no
	// record that would wake the pipeline.
	idleCountInterval = 30 * time.Second
	// expireInterval is the interval of the check for connections that do not end.
	expireInterval = 5 * time.Second
)

// Sockets configure how handshakes at sockets are recorded.
type Sockets struct {
	Source *sockets.Source
	// Units records the names of units.
	Units bool
	// Suspect reports whether executables of a base name are known to forward handshakes
	// of others through one socket. It is called by the pipeline's goroutine.
	Suspect func(executable string) bool
}

// Watch records handshakes from the pieces that the source writes to the ring, until Run
// ends, which detaches the source. It must be called before Run.
func (p *Pipeline) Watch(s Sockets) {
	p.connections = &connections{source: s.Source, losses: p.losses, exclude: p.exclude}
	if s.Units {
		p.connections.units = unitname.New()
	}
	p.join = join.New()
	p.window.Join(p.join)
	p.connections.stats.Store(&ConnectionStats{})
	p.connections.tracker = wire.NewTracker(wire.DefaultLimits(), s.Suspect, func(h *wire.Handshake) {
		if p.exclude.Handshake(&exclude.Program{
			// The names and the user are set together.
			Executable: h.Executable, Owned: h.Executable != "", User: h.User, Unit: h.Unit,
		}) {
			p.connections.countExcluded(h, p.join)
			return
		}
		if o := p.connections.handshake(h); o.Role == "" || !p.join.Offer(o) {
			p.write(o)
		}
	})
}

// Connections returns counts of the followed connections, and of the handshakes by
// executable. It may be called from any goroutine, if Watch was called.
func (p *Pipeline) Connections() (ConnectionStats, []status.Coverage) {
	return *p.connections.stats.Load(), p.join.Coverage()
}

// settle writes the handshakes of sockets that have waited long enough for a library to
// report them, or all.
func (p *Pipeline) settle(all bool) {
	if p.join != nil {
		p.join.Settle(all, p.write, p.window.Complete, p.window.Contradict)
	}
}

// write writes an operation. It may be called any number of times per window.
func (p *Pipeline) write(o *join.Operation) {
	p.window.Add(o)
	if p.window.Full() {
		p.push()
	}
}

// take passes a record of the ring to the tracker.
func (c *connections) take(raw []byte) error {
	p := &c.piece
	if err := sockets.Decode(raw, p); err != nil {
		return err
	}
	c.taken = true
	c.fragment = wire.Fragment{
		Time: p.Time, Task: p.PIDTGID, Connection: p.Connection, Pair: p.Pair,
		Offset: p.Offset, Peer: p.Peer, Protocol: wire.Protocol(p.Protocol), Received: p.Received,
		End: p.End, Invalid: p.Invalid, Cut: p.Cut, Closed: p.Closed,
		Executable: p.Executable, Unit: p.Unit, User: p.User, Data: p.Data,
	}
	c.tracker.Add(&c.fragment)
	return nil
}

// flushed publishes the statistics at the end of a window.
func (c *connections) flushed() {
	if c != nil && c.taken {
		c.taken = false
		c.stats.Store(&ConnectionStats{c.tracker.Stats(), c.excluded})
	}
}

// expire ends connections that have taken too long.
func (c *connections) expire(at uint64) {
	if c != nil && at-c.expired >= uint64(expireInterval) {
		c.expired = at
		c.tracker.Expire(at)
	}
}

// due reports whether an idle pipeline must count the losses.
func (c *connections) due(at uint64) bool {
	return c != nil && at-c.counted >= uint64(idleCountInterval)
}

// count counts the losses since the given time. It reports whether there are new ones.
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

// wait returns how long an idle pipeline may wait; otherwise is the time without
// connections, negative for no limit.
func (c *connections) wait(otherwise time.Duration) time.Duration {
	switch {
	case c == nil:
		return otherwise
	case c.tracker.Stats().Open > 0:
		return shorter(otherwise, expireInterval)
	}
	return shorter(otherwise, idleCountInterval)
}

// shorter returns the shorter time; other is negative for no limit.
func shorter(other, limit time.Duration) time.Duration {
	if other < 0 {
		return limit
	}
	return min(other, limit)
}

// countExcluded counts a handshake that is not recorded.
func (c *connections) countExcluded(h *wire.Handshake, j *join.Joiner) {
	c.excluded++
	if h.Protocol != wire.SSH {
		j.Count(h.Executable, func(c *status.Coverage) { c.Excluded++ })
	}
}

// handshake converts a handshake to an operation.
func (c *connections) handshake(h *wire.Handshake) *join.Operation {
	// Contexts of programs are usually addresses or small numbers.
	const ours, numbers = 1 << 63, 8
	c.handshakes++
	o := &join.Operation{
		Task: h.Task, Context: ours | c.handshakes<<numbers, Start: h.Start, End: h.End,
		Executable: h.Executable, Source: event.Wire, Root: h.Operation(),
	}
	if c.units != nil {
		o.Unit = c.units.Without(h.Unit)
	}
	if h.Protocol != wire.SSH {
		o.Version, o.Suite = int64(h.TLS.Version), int64(h.TLS.Suite)
		o.AddGroup(int64(h.TLS.Group))
		switch h.TLS.Role {
		case tls.Client:
			o.Role = "client"
		case tls.Server:
			o.Role = "server"
		}
	}
	return o
}
