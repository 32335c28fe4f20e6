// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"hash/maphash"
	"slices"

	"crypto-auditing/src/internal/wire/dtls"
	"crypto-auditing/src/internal/wire/quic"
	"crypto-auditing/src/internal/wire/ssh"
	"crypto-auditing/src/internal/wire/tls"
)

// Limits bound a tracker.
type Limits struct {
	// Connections is the number of connections, counted by their ends.
	Connections int
	// Bytes is the memory held for them.
	Bytes int
	// Time limits how long a connection is followed, in nanoseconds.
	Time uint64
}

// DefaultLimits returns limits far above the needs of a busy server.
func DefaultLimits() Limits { return Limits{Connections: 16384, Bytes: 32 << 20, Time: 60e9} }

const (
	// connectionBytes is the size of a connection with its parser, without buffers.
	connectionBytes = 1536
	// maxAhead and maxAheadBytes bound the data that is kept until the data before
	// it arrives. Only threads that share a socket cause that.
	maxAhead      = 64
	maxAheadBytes = 32 << 10
	// maxProcesses bounds the processes that are stored for a connection.
	maxProcesses = 4
	// maxSpare and maxSpareBytes bound the number and the size of unused connections
	// that are kept for reuse.
	maxSpare      = 256
	maxSpareBytes = 16 << 10
	// maxNames bounds the number of interned names of executables and units.
	maxNames = 4096
)

// A Tracker follows connections by their fragments. It must be used by one goroutine
// only.
type Tracker struct {
	limits  Limits
	suspect func(executable string) bool
	done    func(*Handshake)

	connections map[uint64]*connection
	// oldest and newest are the ends of the list of connections.
	oldest, newest *connection
	bytes          int
	spare          []*connection
	relays         relays
	names          map[string]string
	seed           maphash.Seed // for the keys of connections by datagrams
	stats          Stats
	handshake      Handshake
}

// NewTracker returns a tracker. It passes each handshake to done, which must not keep
// it after returning. suspect reports whether executables of a base name are known to
// forward handshakes of others through one socket; nil if none are.
func NewTracker(limits Limits, suspect func(executable string) bool, done func(*Handshake)) *Tracker {
	return &Tracker{
		limits: limits, suspect: suspect, done: done,
		connections: make(map[uint64]*connection), names: make(map[string]string),
		relays: relays{legs: make(map[randomKey][]leg)}, seed: maphash.MakeSeed(),
	}
}

// connection is one end of a connection.
type connection struct {
	key        uint64
	pair       uint32
	protocol   Protocol
	start, end uint64
	tls        tls.Parser
	ssh        ssh.Parser
	quic       *quic.Connection
	dtls       *dtls.Connection
	// clientAt is the direction of the QUIC client.
	clientAt  int
	streams   [2]stream // sent, received
	processes []process
	// first are the tasks of the first fragment sent and the first received.
	first [2]uint64
	// leg is set and registered once the ClientHello was read.
	leg        leg
	registered bool
	// finished is set once its handshake was passed on.
	finished bool
	bytes    int

	older, newer *connection
}

// process is a process that uses a connection.
type process struct {
	id, user         uint32
	executable, unit string
}

// stream is one direction of a connection.
type stream struct {
	next  uint32 // offset of the next byte
	ahead []ahead
	// last is the offset from which the direction is encrypted.
	last    uint32
	hasLast bool
	ended   bool
}

// ahead is data that arrived before the data that precedes it.
type ahead struct {
	offset uint32
	data   []byte
}

// Stats returns the counters.
func (t *Tracker) Stats() Stats { return t.stats }

// ending is the reason why a connection is no longer followed.
type ending uint8

const (
	whole ending = iota
	cut
	evicted
	expired
)

// Add processes a fragment.
func (t *Tracker) Add(f *Fragment) {
	switch f.Protocol {
	case QUIC:
		t.quicDatagram(f)
		return
	case DTLS:
		t.dtlsDatagram(f)
		return
	}
	c := t.connections[f.Connection]
	if c == nil {
		if len(f.Data) == 0 {
			// Its beginning was lost, or it was evicted.
			return
		}
		c = t.open(f.Connection, f)
	}
	if !c.finished {
		t.take(c, f)
	} else if f.End {
		c.streams[index(f.Received)].ended = true
	}
	through := f.Invalid || f.Cut || f.Closed || c.streams[0].ended && c.streams[1].ended
	switch {
	case f.Cut:
		t.finish(c, cut)
	case through || c.parsed():
		t.finish(c, whole)
	}
	if through {
		t.remove(c)
	}
	t.limit()
}

// limit evicts the oldest connections while too many bytes are held.
func (t *Tracker) limit() {
	for t.bytes > t.limits.Bytes && t.oldest != nil {
		t.finish(t.oldest, evicted)
		t.remove(t.oldest)
	}
}

// open starts to follow a connection.
func (t *Tracker) open(key uint64, f *Fragment) *connection {
	for t.oldest != nil && len(t.connections) >= t.limits.Connections {
		t.finish(t.oldest, evicted)
		t.remove(t.oldest)
	}
	var c *connection
	if n := len(t.spare); n > 0 {
		c, t.spare = t.spare[n-1], t.spare[:n-1]
	} else {
		c = &connection{}
	}
	c.key, c.pair, c.protocol, c.start = key, f.Pair, f.Protocol, f.Time
	c.bytes = connectionBytes
	t.bytes += c.bytes
	t.connections[key] = c
	c.older = t.newest
	if c.older != nil {
		c.older.newer = c
	} else {
		t.oldest = c
	}
	t.newest = c
	t.stats.Seen++
	t.stats.Open++
	return c
}

// remove forgets a finished connection.
func (t *Tracker) remove(c *connection) {
	delete(t.connections, c.key)
	t.bytes -= c.bytes
	if c.older != nil {
		c.older.newer = c.newer
	} else {
		t.oldest = c.newer
	}
	if c.newer != nil {
		c.newer.older = c.older
	} else {
		t.newest = c.older
	}
	if len(t.spare) < maxSpare && c.bytes <= maxSpareBytes {
		c.reset()
		t.spare = append(t.spare, c)
	}
}

// reset prepares a connection for reuse.
func (c *connection) reset() {
	if c.protocol == SSH {
		c.ssh.Reset()
	} else {
		c.tls.Reset()
	}
	c.quic, c.dtls = nil, nil
	c.streams, c.first, c.leg = [2]stream{}, [2]uint64{}, leg{}
	c.processes = c.processes[:0]
	c.finished, c.registered = false, false
	c.older, c.newer = nil, nil
}

// index returns the index of a direction.
func index(received bool) int {
	if received {
		return 1
	}
	return 0
}

// take passes a fragment to the connection's parser.
func (t *Tracker) take(c *connection, f *Fragment) {
	c.end = f.Time
	t.note(c, f)
	at := index(f.Received)
	if len(f.Data) > 0 && c.first[at] == 0 {
		c.first[at] = f.Task
	}
	s := &c.streams[at]
	if f.End && !s.hasLast {
		s.last, s.hasLast = f.Offset+uint32(len(f.Data)), true
	}
	c.feed(f.Received, f.Offset, f.Data, true)
	for i := 0; i < len(s.ahead); {
		a := s.ahead[i]
		if !c.feed(f.Received, a.offset, a.data, false) {
			i++
			continue
		}
		s.ahead = slices.Delete(s.ahead, i, i+1)
		i = 0
	}
	if s.hasLast && !s.ended && s.next == s.last {
		s.ended = true
		c.tls.End(f.Received)
	}
	t.account(c)
	t.noteLeg(c, f)
}

// noteLeg registers the leg of a connection whose ClientHello was read with f.
func (t *Tracker) noteLeg(c *connection, f *Fragment) {
	if !c.registered && c.tls.ClientHello {
		c.registered = true
		c.leg = leg{c.key, f.Time, c.pair, uint32(f.Task >> 32), c.tls.Role == tls.Server}
		t.relays.add(randomKey(c.tls.ClientRandom[:16]), c.leg)
	}
}

// note stores the names of a process.
func (t *Tracker) note(c *connection, f *Fragment) {
	id := uint32(f.Task >> 32)
	if len(f.Executable) == 0 || len(c.processes) >= maxProcesses {
		return
	}
	for i := range c.processes {
		if c.processes[i].id == id {
			return
		}
	}
	c.processes = append(c.processes, process{id, f.User, t.shared(f.Executable), t.shared(f.Unit)})
}

// shared returns an interned string for a name.
func (t *Tracker) shared(name []byte) string {
	s, ok := t.names[string(name)]
	if !ok {
		if len(t.names) >= maxNames {
			clear(t.names)
		}
		s = string(name)
		t.names[s] = s
	}
	return s
}

// feed passes data to the parser if it is next in its direction. It reports whether it
// consumed the data; otherwise, if keep is set, it keeps them for later.
func (c *connection) feed(received bool, offset uint32, data []byte, keep bool) bool {
	s := &c.streams[index(received)]
	// Offsets cover the first kilobytes of a connection and do not wrap.
	if offset > s.next && len(data) > 0 {
		// Only the beginning of a certificate is copied.
		if c.protocol != TLS || !c.tls.Skip(received, int(offset-s.next)) {
			if keep {
				s.keep(offset, data)
			}
			return false
		}
		s.next = offset
	}
	if known := s.next - offset; offset < s.next && known < uint32(len(data)) {
		data = data[known:]
	} else if offset < s.next {
		return true
	}
	if len(data) == 0 {
		return true
	}
	s.next += uint32(len(data))
	if c.protocol == SSH {
		c.ssh.Data(received, data)
	} else {
		c.tls.Data(received, data)
	}
	return true
}

// keep keeps data until the data before it arrive. Data above the bound are dropped,
// and the handshake is then known in part.
func (s *stream) keep(offset uint32, data []byte) {
	held := 0
	for i := range s.ahead {
		held += len(s.ahead[i].data)
	}
	if len(s.ahead) < maxAhead && held+len(data) <= maxAheadBytes {
		s.ahead = append(s.ahead, ahead{offset, bytes.Clone(data)})
	}
}

// account updates the number of bytes held.
func (t *Tracker) account(c *connection) {
	n := connectionBytes + c.tls.Buffered() + c.ssh.Buffered()
	if c.quic != nil {
		n += quicBytes + c.quic.Held()
	}
	if c.dtls != nil {
		n += dtlsBytes + c.dtls.Held()
	}
	for i := range c.streams {
		for _, a := range c.streams[i].ahead {
			n += len(a.data)
		}
	}
	t.bytes += n - c.bytes
	c.bytes = n
}

// parsed reports whether nothing relevant can follow.
func (c *connection) parsed() bool {
	if c.protocol == SSH {
		return c.ssh.Done()
	}
	return c.tls.Done()
}

// known reports whether enough of the handshake was read to pass it on.
func (c *connection) known() bool {
	if c.protocol == SSH {
		return c.ssh.Offered
	}
	return (c.tls.ClientHello || c.tls.ServerHello) && !c.tls.Unverified()
}

// finish passes on the handshake of a connection, once.
func (t *Tracker) finish(c *connection, reason ending) {
	if c.finished {
		return
	}
	c.finished = true
	t.stats.Open--
	defer t.release(c)
	known := c.known()
	relayed, suspected := false, false
	if known && c.registered {
		relayed, suspected = t.relays.verdict(randomKey(c.tls.ClientRandom[:16]), c.leg)
	}
	switch {
	case reason == evicted || reason == expired && !known && !c.tls.Unverified():
		t.stats.Evicted++
		return
	case relayed:
		t.stats.Relayed++
		return
	case reason == cut:
		t.stats.Cut++
	case !known:
		t.stats.NoHandshake++
	default:
		t.stats.Decoded++
	}
	if known {
		t.give(c, reason == cut, suspected)
	}
}

// release releases the buffers of a finished connection. The connection stays for a
// while, so that later fragments are not taken for a new one.
func (t *Tracker) release(c *connection) {
	if c.dtls != nil {
		c.dtls.Release()
		t.account(c)
	}
	if c.quic == nil && c.bytes <= maxSpareBytes {
		return
	}
	c.tls, c.ssh, c.quic = tls.Parser{}, ssh.Parser{}, nil
	c.streams[0].ahead, c.streams[1].ahead = nil, nil
	t.account(c)
}

// give passes the handshake of a connection to done.
func (t *Tracker) give(c *connection, wasCut, suspected bool) {
	h := &t.handshake
	*h = Handshake{Start: c.start, End: c.end, Protocol: c.protocol, Cut: wasCut, Suspected: suspected}
	if h.Task = c.first[0]; h.Task == 0 {
		h.Task = c.first[1]
	}
	for i := range c.processes {
		if p := &c.processes[i]; p.id == uint32(h.Task>>32) {
			h.Executable, h.Unit, h.User = p.executable, p.unit, p.user
		}
	}
	if t.suspect != nil && t.suspect(h.Executable) {
		h.Suspected = true
	}
	if c.protocol == SSH {
		c.ssh.Finish()
		h.SSH = c.ssh.Handshake
	} else {
		c.tls.Finish()
		h.TLS = c.tls.Handshake
	}
	t.done(h)
}

// Expire ends the connections that began too long before now, a time in nanoseconds
// since boot, and passes on their known handshakes. Call it every few seconds while
// connections are open; it is cheap if none has expired.
func (t *Tracker) Expire(now uint64) {
	for c := t.oldest; c != nil && c.start+t.limits.Time <= now; c = t.oldest {
		t.finish(c, expired)
		t.remove(c)
	}
}

// Held returns the number of bytes held for connections.
func (t *Tracker) Held() int { return t.bytes }
