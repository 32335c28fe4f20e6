// SPDX-License-Identifier: Apache-2.0

// Package quic decrypts the Initial packets of QUIC, whose keys are derived from
// plaintext (RFC 9000, RFC 9001; version 2: RFC 9369), and assembles the handshake
// messages in them.
package quic

import (
	"encoding/binary"
	"slices"
)

// Supported versions.
const (
	version1 = 0x00000001
	version2 = 0x6b3343cf
)

const (
	// maxID is the longest connection id (RFC 9000, section 17.2).
	maxID = 20
	// maxChunks and maxCrypto bound the number and the bytes of CRYPTO frames that
	// are kept per direction.
	maxChunks = 64
	maxCrypto = 32 << 10
	// minFirstID is the shortest first destination id of a client in bytes (RFC 9000,
	// section 7.2).
	minFirstID = 8
)

// Packet is an Initial packet. Its slices alias the datagram.
type Packet struct {
	// Destination and Source are the connection ids.
	Destination, Source []byte

	version uint32
	raw     []byte
	number  int // offset of the packet number
}

// Next takes the next packet from a datagram. ok is false if there is no further packet
// with a known end; initial reports whether the packet is an Initial.
func Next(datagram *[]byte) (p Packet, initial, ok bool) {
	d := *datagram
	*datagram = nil
	if len(d) < 7 || d[0]&0xc0 != 0xc0 {
		return p, false, false
	}
	p.version = binary.BigEndian.Uint32(d[1:])
	const retry = 3
	kind := d[0] >> 4 & 3
	switch p.version {
	case version1:
	case version2: // its packet types are shifted by one
		kind = (kind + 3) % 4
	default:
		return p, false, false
	}
	if kind == retry {
		return p, false, false
	}
	r := reader{d[5:], false}
	p.Destination = r.id()
	p.Source = r.id()
	if kind == 0 {
		r.take(r.varint()) // token
	}
	length := r.varint()
	if r.bad || length > uint64(len(r.b)) {
		return p, false, false
	}
	p.number = len(d) - len(r.b)
	end := p.number + int(length)
	p.raw = d[:end]
	*datagram = d[end:]
	return p, kind == 0, true
}

// reader parses the fields of packets and frames.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.b, r.bad = nil, true
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

// varint reads a variable-length integer (RFC 9000, section 16).
func (r *reader) varint() uint64 {
	if len(r.b) == 0 {
		r.bad = true
		return 0
	}
	b := r.take(1 << (r.b[0] >> 6))
	if b == nil {
		return 0
	}
	n := uint64(b[0] & 0x3f)
	for _, x := range b[1:] {
		n = n<<8 | uint64(x)
	}
	return n
}

// id reads a connection id.
func (r *reader) id() []byte {
	n := r.take(1)
	if n == nil || n[0] > maxID {
		r.bad = true
		return nil
	}
	return r.take(uint64(n[0]))
}

// Connection is the Initial part of a connection, seen from either end. It must be used
// by one goroutine only.
type Connection struct {
	// destination is the client's first destination id, from which the keys are
	// derived.
	destination []byte
	version     uint32
	client      *keys
	server      *keys
	answered    bool      // a packet of the server was decrypted
	streams     [2]stream // of the client, of the server
}

// stream assembles the CRYPTO frames of a direction.
type stream struct {
	next   uint64
	chunks []chunk
	held   int
}

type chunk struct {
	offset uint64
	data   []byte
}

// Begin returns the connection that a client's first Initial opens, and the packet's
// frames; nil if the packet cannot be decrypted.
func Begin(p *Packet) (*Connection, []byte) {
	if len(p.Destination) < minFirstID {
		return nil, nil
	}
	c := &Connection{}
	c.derive(p)
	frames := c.client.open(p)
	if frames == nil {
		return nil, nil
	}
	return c, frames
}

// derive derives the keys from a packet of the client.
func (c *Connection) derive(p *Packet) {
	c.destination, c.version = slices.Clone(p.Destination), p.version
	c.client, c.server = derive(c.destination, c.version)
}

// Open returns the frames of a packet, nil if it cannot be decrypted. restarted reports
// whether the client restarts the handshake: its earlier messages are void.
func (c *Connection) Open(fromClient bool, p *Packet) (frames []byte, restarted bool) {
	if !fromClient {
		server := c.server
		// The server may choose the other version (RFC 9368).
		if p.version != c.version {
			_, server = derive(c.destination, p.version)
		}
		frames = server.open(p)
		if frames != nil && !c.answered {
			c.answered = true
			if p.version != c.version {
				c.version = p.version
				c.client, c.server = derive(c.destination, p.version)
			}
		}
		return frames, false
	}
	if p.version == c.version {
		if frames = c.client.open(p); frames != nil {
			return frames, false
		}
	}
	if c.answered {
		return nil, false
	}
	// After a Retry, the keys are derived from the id that the server chose, and the
	// client restarts the handshake (RFC 9001, section 5.2).
	next, frames := Begin(p)
	if next != nil {
		*c = *next
	}
	return frames, next != nil
}

// Frames processes the frames of a packet. It passes the handshake messages to
// messages, in order and without gaps, and returns the alert with which the sender
// closes the connection, if it does.
func (c *Connection) Frames(fromClient bool, frames []byte, messages func([]byte)) (alert uint8, closed bool) {
	const (
		padding         = 0x00
		ping            = 0x01
		ack             = 0x02
		ackECN          = 0x03
		crypto          = 0x06
		connectionClose = 0x1c
		// The range of error codes for TLS alerts (RFC 9001, section 4.8).
		firstAlert, lastAlert = 0x100, 0x1ff
	)
	s := &c.streams[0]
	if !fromClient {
		s = &c.streams[1]
	}
	r := reader{frames, false}
	for len(r.b) > 0 && !r.bad {
		switch kind := r.varint(); kind {
		case padding, ping:
		case ack, ackECN:
			r.varint() // largest
			r.varint() // delay
			ranges := r.varint()
			r.varint() // first range
			for ; ranges > 0 && !r.bad; ranges-- {
				r.varint()
				r.varint()
			}
			if kind == ackECN {
				for range 3 {
					r.varint()
				}
			}
		case crypto:
			offset := r.varint()
			if data := r.take(r.varint()); !r.bad {
				s.add(offset, data, messages)
			}
		case connectionClose:
			code := r.varint()
			if !r.bad && code >= firstAlert && code <= lastAlert {
				return uint8(code - firstAlert), true
			}
			return 0, false
		default:
			return 0, false
		}
	}
	return 0, false
}

// Held returns the number of bytes of CRYPTO frames that are kept.
func (c *Connection) Held() int { return c.streams[0].held + c.streams[1].held }

// add adds the data of a CRYPTO frame.
func (s *stream) add(offset uint64, data []byte, messages func([]byte)) {
	if offset > maxCrypto || len(data) == 0 {
		return
	}
	if offset > s.next {
		if len(s.chunks) < maxChunks && s.held+len(data) <= maxCrypto {
			s.chunks = append(s.chunks, chunk{offset, slices.Clone(data)})
			s.held += len(data)
		}
		return
	}
	s.deliver(offset, data, messages)
	for i := 0; i < len(s.chunks); {
		c := s.chunks[i]
		if c.offset > s.next {
			i++
			continue
		}
		s.chunks = slices.Delete(s.chunks, i, i+1)
		s.held -= len(c.data)
		s.deliver(c.offset, c.data, messages)
		i = 0
	}
}

// deliver passes the new part of data to messages.
func (s *stream) deliver(offset uint64, data []byte, messages func([]byte)) {
	if known := s.next - offset; known < uint64(len(data)) {
		messages(data[known:])
		s.next = offset + uint64(len(data))
	}
}
