// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"encoding/binary"
	"hash/maphash"

	"crypto-auditing/src/internal/wire/quic"
)

// quicBytes is what the keys of a connection of QUIC take.
const quicBytes = 4096

// datagram takes a datagram of QUIC, or several in one as the kernel joins them.
// A socket may have many connections: the client's id and the addresses tell them
// apart, in both directions.
func (t *Tracker) datagram(f *Fragment) {
	for rest := f.Data; len(rest) > 0; {
		p, initial, ok := quic.Next(&rest)
		if !ok {
			return
		}
		if initial {
			t.initial(f, &p)
		}
	}
	t.limit()
}

// initial takes an Initial packet.
func (t *Tracker) initial(f *Fragment, p *quic.Packet) {
	fromClient := false
	c := t.connections[t.quicKey(f, p.Destination)]
	if c == nil || c.clientAt != index(!f.Received) {
		fromClient = true
		c = t.connections[t.quicKey(f, p.Source)]
	}
	var frames []byte
	switch {
	case c == nil:
		var q *quic.Connection
		if q, frames = quic.Begin(p); q != nil {
			c = t.open(t.quicKey(f, p.Source), f)
			c.quic, c.clientAt = q, index(f.Received)
		}
	case c.finished:
		return
	case fromClient && c.clientAt != index(f.Received):
		// The server's, for a client that was not seen.
	default:
		var again bool
		if frames, again = c.quic.Open(fromClient, p); again {
			c.tls.Reset()
		}
	}
	if frames == nil {
		t.stats.Undecodable++
		return
	}
	c.end = f.Time
	t.note(c, f)
	if at := index(f.Received); c.first[at] == 0 {
		c.first[at] = f.Task
	}
	alert, closed := c.quic.Frames(fromClient, frames, func(b []byte) { c.tls.Message(f.Received, b) })
	if closed {
		c.tls.Refused(alert)
	}
	t.account(c)
	t.noteLeg(c, f)
	// All that follows a ServerHello is encrypted with other keys. The
	// connection is remembered for the packets that are sent again.
	if c.tls.ServerHello || c.tls.Done() {
		t.finish(c, whole)
	}
}

// quicKey returns the key of a connection by its client's id.
func (t *Tracker) quicKey(f *Fragment, client []byte) uint64 {
	var b [12 + 20]byte
	binary.LittleEndian.PutUint64(b[:], f.Connection)
	binary.LittleEndian.PutUint32(b[8:], f.Pair)
	n := copy(b[12:], client)
	return maphash.Bytes(t.seed, b[:12+n])
}
