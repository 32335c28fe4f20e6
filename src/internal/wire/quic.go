// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"encoding/binary"
	"hash/maphash"

	"crypto-auditing/src/internal/wire/quic"
)

// quicBytes is the approximate size of the keys of a QUIC connection.
const quicBytes = 4096

// quicDatagram processes a QUIC datagram, or several that the kernel joined into one. A
// socket may have many connections: the client's id and the addresses distinguish
// them, in both directions.
func (t *Tracker) quicDatagram(f *Fragment) {
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

// initial processes an Initial packet.
func (t *Tracker) initial(f *Fragment, p *quic.Packet) {
	fromClient := false
	c := t.connections[t.datagramKey(f, p.Destination)]
	if c == nil || c.clientAt != index(!f.Received) {
		fromClient = true
		c = t.connections[t.datagramKey(f, p.Source)]
	}
	var frames []byte
	switch {
	case c == nil:
		var q *quic.Connection
		if q, frames = quic.Begin(p); q != nil {
			c = t.open(t.datagramKey(f, p.Source), f)
			c.quic, c.clientAt = q, index(f.Received)
		}
	case c.finished:
		return
	case fromClient && c.clientAt != index(f.Received):
		// A packet of the server, for a client that was not seen.
	default:
		var restarted bool
		if frames, restarted = c.quic.Open(fromClient, p); restarted {
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
	// After a ServerHello everything is encrypted with other keys. The connection is
	// kept so that retransmitted packets are recognised.
	if c.tls.ServerHello || c.tls.Done() {
		t.finish(c, whole)
	}
}

// datagramKey returns the key of one of the connections of a socket, which the id
// distinguishes from the others.
func (t *Tracker) datagramKey(f *Fragment, id []byte) uint64 {
	var b [13 + 20]byte
	binary.LittleEndian.PutUint64(b[:], f.Connection)
	binary.LittleEndian.PutUint32(b[8:], f.Pair)
	b[12] = byte(f.Protocol)
	n := copy(b[13:], id)
	return maphash.Bytes(t.seed, b[:13+n])
}
