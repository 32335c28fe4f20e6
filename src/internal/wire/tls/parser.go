// SPDX-License-Identifier: Apache-2.0

// Package tls reads the plaintext of a TLS handshake: TLS 1.0 to 1.2 (RFC 2246,
// RFC 4346, RFC 5246) up to ChangeCipherSpec, TLS 1.3 (RFC 8446) up to the first
// encrypted record of each direction, including that record's length. It verifies
// nothing cryptographically: a peer can write anything. It trusts no length and keeps
// at most 40 KiB per connection.
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
	// maxRecord is the longest body of a record: 2^14 bytes and the expansion that
	// encryption may add before TLS 1.3.
	maxRecord = 1<<14 + 2048
	// messageHeader is the size of the type and the length of a handshake message.
	messageHeader = 4
	// maxMessage bounds the bytes of a message that are kept. No known ClientHello
	// or ServerHello comes near it; of a certificate the beginning is sufficient.
	maxMessage = 20 << 10
	// maxCertificate bounds the bytes of a certificate message that are kept, as many
	// as are copied at the socket: the key precedes the signature and the extensions,
	// which can be long.
	maxCertificate = 4 << 10
)

// Protocol versions.
const (
	version11 = 0x0302
	version12 = 0x0303
	version13 = 0x0304
	dtls10    = 0xfeff
	dtls12    = 0xfefd
	dtls13    = 0xfefc
)

// A Parser parses both directions of a connection and collects the properties of its
// handshake. The zero value is ready to use; Reset prepares it for reuse and keeps its
// buffers. It must be used by one goroutine only.
type Parser struct {
	Handshake

	directions [2]direction // sent, received
	invalid    bool

	// datagrams is set for messages of DTLS.
	datagrams bool
	// unverified is set if the server requested the client's hello with a cookie, and has
	// not received it; hasCookie is set if the last hello had a cookie.
	unverified, hasCookie bool

	sessionID       [32]byte // offered by the client
	sessionIDLength uint8
	// nonzeroAges has a bit for each of the first 64 identities, set if its ticket age
	// is not 0: the ticket is from an earlier connection.
	nonzeroAges uint64
	identities  int
	// serverFlight reports that the server ended a flight of a full handshake of TLS
	// 1.2 or older; sameSession that it returned the client's session id.
	serverFlight, sameSession bool
}

// direction is the state of one direction.
type direction struct {
	header     [recordHeader]byte
	headerHave uint8
	kind       uint8 // of the current record
	left       int   // bytes left in the current record
	// undecided: a handshake record follows ChangeCipherSpec, and its first byte will
	// show whether it is encrypted.
	undecided bool

	// The message being assembled: its header, its length including the header, the
	// bytes seen, the bytes to keep and the bytes kept.
	head      [messageHeader]byte
	need, got int
	keep      int
	message   []byte
	handled   bool

	alert     [2]byte
	alertHave uint8

	changed bool // ChangeCipherSpec was sent
	ended   bool // encrypted from here
	// encrypted and encryptedKind are the length and the type of the first encrypted
	// record.
	encrypted     int
	encryptedKind uint8
	// pieces reports that a plaintext record held only a part of a message, so that
	// encrypted records may do so, too.
	pieces bool
}

// Reset prepares the parser for another connection.
func (p *Parser) Reset() {
	sent, received := p.directions[0].message, p.directions[1].message
	*p = Parser{}
	p.directions[0].message, p.directions[1].message = sent[:0], received[:0]
}

// Buffered returns the number of bytes that the parser holds beyond its own size.
func (p *Parser) Buffered() int {
	return cap(p.directions[0].message) + cap(p.directions[1].message)
}

// Invalid reports whether the data are not TLS.
func (p *Parser) Invalid() bool { return p.invalid }

// Done reports whether nothing relevant can follow.
func (p *Parser) Done() bool {
	return p.invalid || p.HasAlert || p.directions[0].ended && p.directions[1].ended
}

func index(received bool) int {
	if received {
		return 1
	}
	return 0
}

// Data parses the next bytes of a direction, split in any way. They are not kept after
// the call.
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

// Skip skips n bytes of a direction that were not copied. It reports whether the parser
// can continue: the bytes are the end of a message that is not needed.
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

// End marks the direction as encrypted after the bytes passed so far.
func (p *Parser) End(received bool) {
	if at := index(received); p.directions[at].undecided {
		p.encrypted(at)
	}
}

// record parses the header of a record.
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
			if p.ServerHello && !p.modern() {
				p.encrypted(at)
			}
		}
	case recordAlert:
		d.alertHave = 0
		// A two-byte alert is in plaintext: encryption would make it longer.
		if d.left != 2 && d.changed {
			p.encrypted(at)
		}
	}
}

// decide examines the first byte of a handshake record after ChangeCipherSpec. In
// plaintext only a hello may follow, in the second round of TLS 1.3.
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

// body processes bytes of a record's body.
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

// Message processes bytes of handshake messages without records, as in QUIC (RFC 9001,
// section 4.1.3).
func (p *Parser) Message(received bool, b []byte) {
	if !p.invalid {
		p.handshake(index(received), b)
	}
}

// handshake processes bytes of handshake messages.
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
			d.keep = min(keptLength(d.head[0]), d.need-messageHeader)
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

// keptLength returns the number of bytes that are kept of a message of the type.
func keptLength(kind byte) int {
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
