// SPDX-License-Identifier: Apache-2.0

// Package tls reads what is in plaintext of a TLS handshake: TLS 1.0 to 1.2
// (RFC 2246, RFC 4346, RFC 5246) up to ChangeCipherSpec, TLS 1.3 (RFC 8446) up
// to the first encrypted record of each direction, of which the length is read.
// It checks nothing cryptographically: a peer can write what it likes. It
// trusts no length and keeps at most 40 KiB of a connection.
package tls

import "encoding/binary"

//go:generate go run ./tablegen

// Content types (RFC 8446, section 5.1; heartbeat: RFC 6520).
const (
	recordChangeCipherSpec = 20
	recordAlert            = 21
	recordHandshake        = 22
	recordApplicationData  = 23
	recordHeartbeat        = 24
)

const (
	recordHeader = 5
	// maxRecord is the longest body of a record: 2^14 bytes and what
	// encryption may add before TLS 1.3.
	maxRecord = 1<<14 + 2048
	// messageHeader is the type and the length of a handshake message.
	messageHeader = 4
	// maxMessage bounds how much of a message is kept. No hello that was met
	// comes near it; of a certificate the beginning is enough.
	maxMessage = 20 << 10
	// maxCertificate is how much is kept of a certificate message, which is as
	// much as is copied at the socket: the key stands before the signature and
	// the extensions, which can be long.
	maxCertificate = 4 << 10
)

// Versions of the protocol.
const (
	version12 = 0x0303
	version13 = 0x0304
)

// A Parser follows both directions of a connection and collects what they
// say about its handshake. The zero value is ready; Reset makes it so again,
// keeping its buffers. It belongs to one goroutine.
type Parser struct {
	Handshake

	directions [2]direction // sent, received
	invalid    bool

	sessionID       [32]byte // that the client offered
	sessionIDLength uint8
	// nonzeroAges has a bit for each of the first 64 identities whose ticket
	// has an age: it came from an earlier connection.
	nonzeroAges uint64
	identities  int
	// serverFlight says that the server ended a flight of a full handshake
	// of TLS 1.2 or older; sameSession that it repeated the session's id.
	serverFlight, sameSession bool
}

// direction is what one side sends.
type direction struct {
	header     [recordHeader]byte
	headerHave uint8
	kind       uint8 // of the current record
	left       int   // of the current record
	// undecided is a handshake record after ChangeCipherSpec whose first byte
	// shows whether it is encrypted.
	undecided bool

	// The message that is being put together: its header, its length with the
	// header, how much of it was seen, and what is kept of it.
	head      [messageHeader]byte
	need, got int
	keep      int
	message   []byte
	handled   bool

	alert     [2]byte
	alertHave uint8

	changed bool // ChangeCipherSpec was sent
	ended   bool // encrypted from here on
	// encrypted is the length of the first encrypted record, and its type.
	encrypted     int
	encryptedKind uint8
	// pieces says that a plaintext record held only a piece of a message, as
	// the encrypted ones may then, too.
	pieces bool
}

// Reset makes the parser ready for another connection.
func (p *Parser) Reset() {
	sent, received := p.directions[0].message, p.directions[1].message
	*p = Parser{}
	p.directions[0].message, p.directions[1].message = sent[:0], received[:0]
}

// Buffered returns how many bytes the parser holds beyond its own size.
func (p *Parser) Buffered() int {
	return cap(p.directions[0].message) + cap(p.directions[1].message)
}

// Invalid reports whether something came that is not TLS.
func (p *Parser) Invalid() bool { return p.invalid }

// Done reports whether nothing that matters can follow.
func (p *Parser) Done() bool {
	return p.invalid || p.HasAlert || p.directions[0].ended && p.directions[1].ended
}

func index(received bool) int {
	if received {
		return 1
	}
	return 0
}

// Data takes the next bytes of a direction, however they are cut. They are not
// kept beyond the call.
func (p *Parser) Data(received bool, b []byte) {
	at := index(received)
	d := &p.directions[at]
	for len(b) > 0 && !d.ended && !p.invalid {
		if d.undecided {
			p.decide(at, b[0])
			continue
		}
		if d.left == 0 {
			n := copy(d.header[d.headerHave:], b)
			d.headerHave += uint8(n)
			b = b[n:]
			if d.headerHave < recordHeader {
				return
			}
			d.headerHave = 0
			p.record(at)
			continue
		}
		n := min(d.left, len(b))
		p.body(at, b[:n])
		d.left -= n
		b = b[n:]
		if d.left == 0 && d.kind == recordHandshake && d.got > 0 {
			d.pieces = true
		}
	}
}

// Skip passes over n bytes of a direction that were not copied. It reports
// whether nothing is missing for it: they are the later part of a message that
// is not needed.
func (p *Parser) Skip(received bool, n int) bool {
	d := &p.directions[index(received)]
	if d.ended || p.invalid {
		return true
	}
	if d.kind != recordHandshake || n > d.left || d.got < messageHeader || !d.handled || n > d.need-d.got {
		return false
	}
	d.left -= n
	d.got += n
	switch {
	case d.got == d.need:
		d.got = 0
	case d.left == 0:
		d.pieces = true
	}
	return true
}

// End says that the direction is encrypted after the bytes it was given.
func (p *Parser) End(received bool) {
	if at := index(received); p.directions[at].undecided {
		p.encrypted(at)
	}
}

// record begins a record.
func (p *Parser) record(at int) {
	d := &p.directions[at]
	d.kind = d.header[0]
	d.left = int(binary.BigEndian.Uint16(d.header[3:]))
	if d.kind < recordChangeCipherSpec || d.kind > recordHeartbeat || d.header[1] != 3 || d.left == 0 || d.left > maxRecord {
		p.invalid = true
		return
	}
	switch d.kind {
	case recordApplicationData:
		p.encrypted(at)
	case recordHandshake:
		if d.changed {
			d.undecided = true
			if p.ServerHello && p.Version < version13 {
				p.encrypted(at)
			}
		}
	case recordAlert:
		d.alertHave = 0
		// An alert of two bytes is in plaintext: encryption makes it longer.
		if d.left != 2 && d.changed {
			p.encrypted(at)
		}
	}
}

// decide looks at the first byte of a handshake record after
// ChangeCipherSpec. In plaintext only a hello may follow, in the second round
// of TLS 1.3.
func (p *Parser) decide(at int, first byte) {
	if first == clientHello || first == serverHello {
		p.directions[at].undecided = false
		return
	}
	p.encrypted(at)
}

// encrypted ends a direction at the first encrypted record.
func (p *Parser) encrypted(at int) {
	d := &p.directions[at]
	d.undecided, d.ended = false, true
	d.encrypted, d.encryptedKind = d.left, d.kind
}

// body takes bytes of a record's body.
func (p *Parser) body(at int, b []byte) {
	d := &p.directions[at]
	switch d.kind {
	case recordHandshake:
		p.handshake(at, b)
	case recordChangeCipherSpec:
		d.changed = true
	case recordAlert:
		n := copy(d.alert[d.alertHave:], b)
		d.alertHave += uint8(n)
		if d.alertHave == 2 && d.left == n {
			p.alert(d.alert[0], d.alert[1])
		}
	}
}

// Message takes bytes of handshake messages that came without records, as in
// QUIC (RFC 9001, section 4.1.3).
func (p *Parser) Message(received bool, b []byte) {
	if !p.invalid {
		p.handshake(index(received), b)
	}
}

// handshake takes bytes of handshake messages.
func (p *Parser) handshake(at int, b []byte) {
	d := &p.directions[at]
	for len(b) > 0 && !p.invalid {
		if d.got == 0 && len(b) >= messageHeader {
			if n := messageHeader + length24(b[1:]); n <= len(b) {
				p.take(at, b[0], b[messageHeader:n], false)
				b = b[n:]
				continue
			}
		}
		if d.got < messageHeader {
			n := copy(d.head[d.got:], b)
			d.got += n
			b = b[n:]
			if d.got < messageHeader {
				return
			}
			d.need = messageHeader + length24(d.head[1:])
			d.keep = min(keepOf(d.head[0]), d.need-messageHeader)
			d.message = d.message[:0]
			d.handled = false
		}
		n := min(d.need-d.got, len(b))
		if room := d.keep - len(d.message); room > 0 {
			d.message = append(d.message, b[:min(n, room)]...)
		}
		d.got += n
		b = b[n:]
		if !d.handled && len(d.message) == d.keep {
			d.handled = true
			p.take(at, d.head[0], d.message, d.keep < d.need-messageHeader)
		}
		if d.got == d.need {
			d.got = 0
		}
	}
}

// length24 returns the length in a message's header.
func length24(b []byte) int { return int(b[0])<<16 | int(b[1])<<8 | int(b[2]) }

// keepOf returns how many bytes of a message of the type are kept.
func keepOf(kind byte) int {
	switch kind {
	case clientHello, serverHello, serverKeyExchange:
		return maxMessage
	case certificate:
		return maxCertificate
	case certificateVerify:
		return 2
	}
	return 0
}
