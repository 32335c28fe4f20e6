// SPDX-License-Identifier: Apache-2.0

package tls

// These methods are for DTLS (RFC 6347; version 1.3: RFC 9147), whose records and message
// fragments differ from TLS. Package dtls reads them.

// Datagrams prepares the parser for the messages of DTLS.
func (p *Parser) Datagrams() { p.datagrams = true }

// Keep returns how many bytes at the beginning of a message's body the parser needs, at
// most. A longer hello is invalid.
func Keep(kind byte) int { return keptLength(kind) }

// Whole parses a message of a direction: its type and its body without the header, or
// the bytes of it that the parser needs if more is set.
func (p *Parser) Whole(received bool, kind byte, body []byte, more bool) {
	if !p.invalid {
		p.take(index(received), kind, body, more)
	}
}

// Alerted parses an alert in plaintext.
func (p *Parser) Alerted(level, description uint8) {
	if !p.invalid {
		p.alert(level, description)
	}
}

// Encrypted marks a direction as encrypted from a record on that holds a handshake
// message.
func (p *Parser) Encrypted(received bool) {
	d := &p.directions[index(received)]
	d.ended, d.encryptedKind = true, recordHandshake
}

// Unverified reports whether the server only requested the client's hello with a cookie:
// it has not begun a handshake.
func (p *Parser) Unverified() bool { return p.unverified && !p.ServerHello }

// Complete reports whether nothing relevant can follow in a handshake of DTLS.
func (p *Parser) Complete() bool {
	return p.Done() || p.ServerHello && (p.modern() || p.Role != 0 && p.confirmed())
}
