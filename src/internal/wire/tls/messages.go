// SPDX-License-Identifier: Apache-2.0

package tls

import (
	"bytes"

	"crypto-auditing/src/internal/wire/octet"
)

// Handshake types (RFC 8446, section 4, and RFC 5246, section 7.4).
const (
	clientHello       = 1
	serverHello       = 2
	helloVerify       = 3 // (RFC 6347, section 4.3.2)
	certificate       = 11
	serverKeyExchange = 12
	serverHelloDone   = 14
	certificateVerify = 15
)

// Extensions (https://www.iana.org/assignments/tls-extensiontype-values).
const (
	extensionSupportedGroups   = 10
	extensionPreSharedKey      = 41
	extensionEarlyData         = 42
	extensionSupportedVersions = 43
	extensionKeyShare          = 51
)

// keyExchange is the kind of a cipher suite's key exchange, which determines the format
// of the server's message.
type keyExchange uint8

const (
	keyOther       keyExchange = iota
	keyECDHE                   // anonymous (RFC 8422)
	keyECDHESigned             // (RFC 8422)
	keyECDHEPSK                // after an identity hint (RFC 5489)
	keyDHE                     // anonymous (RFC 5246)
	keyDHESigned               // (RFC 5246)
	keyDHEPSK                  // after an identity hint (RFC 4279)
	keySRPSigned               // (RFC 5054)
)

// helloRetryRequest is the random value that makes a ServerHello a
// HelloRetryRequest (RFC 8446, section 4.1.3).
const helloRetryRequest = "\xCF\x21\xAD\x74\xE5\x9A\x61\x11\xBE\x1D\x8C\x02\x1E\x65\xB8\x91" +
	"\xC2\xA2\x11\x16\x7A\xBB\x8C\x5E\x07\x9E\x09\xE2\xC8\xA8\x33\x9C"

// take processes a handshake message, or the beginning of a truncated one.
func (p *Parser) take(at int, kind byte, m []byte, cut bool) {
	switch kind {
	case clientHello:
		if cut || p.Role != 0 && p.clientAt() != at || p.ServerHello || !p.clientHello(at, m) {
			p.invalid = true
		}
	case serverHello:
		if cut || p.Role != 0 && p.clientAt() == at || p.ServerHello || !p.serverHello(at, m) {
			p.invalid = true
		}
	case helloVerify:
		// The client repeats its hello with the server's cookie.
		p.unverified = p.datagrams && !p.hasCookie
	case certificate, serverKeyExchange, serverHelloDone, certificateVerify:
		if p.ServerHello && !p.modern() {
			p.legacy(p.clientAt() == at, kind, m)
		}
	}
}

// setClient sets the direction of the client.
func (p *Parser) setClient(at int) {
	p.Role = Client
	if at == index(true) {
		p.Role = Server
	}
}

// clientHello parses a ClientHello (RFC 8446, section 4.1.2) and reports whether it is
// valid.
func (p *Parser) clientHello(at int, m []byte) bool {
	r := octet.From(m)
	r.Uint16() // version
	random := r.Bytes(32)
	session := r.Vector8()
	var cookie octet.Reader
	if p.datagrams {
		cookie = r.Vector8()
	}
	suites := r.Vector16()
	r.Vector8() // compression
	var extensions octet.Reader
	if r.Len() > 0 {
		extensions = r.Vector16()
	}
	if r.Bad() || r.Len() > 0 || session.Len() > 32 || suites.Len() < 2 {
		return false
	}
	early := p.EarlyData
	p.offeredCount, p.nonzeroAges, p.identities = 0, 0, 0
	for extensions.Len() > 0 {
		kind := extensions.Uint16()
		x := extensions.Vector16()
		switch kind {
		case extensionSupportedGroups:
			p.groups(x.Vector16())
		case extensionPreSharedKey:
			p.preSharedKeys(x.Vector16())
		case extensionEarlyData:
			early = true
		}
	}
	if extensions.Bad() {
		return false
	}
	p.setClient(at)
	p.EarlyData = early
	p.ClientHello = true
	p.hasCookie = cookie.Len() > 0
	p.unverified = p.unverified && !p.hasCookie
	copy(p.ClientRandom[:], random)
	p.sessionIDLength = uint8(copy(p.sessionID[:], session.Rest()))
	return true
}

// groups stores the registered groups that a client offers. Reserved values, which
// test the tolerance of servers (RFC 8701), have no name.
func (p *Parser) groups(list octet.Reader) {
	for list.Len() >= 2 && p.offeredCount < maxOffered {
		if g := list.Uint16(); groupName(g) != "" {
			p.offered[p.offeredCount] = g
			p.offeredCount++
		}
	}
}

// preSharedKeys records which of the identities that a client offers are tickets
// (RFC 8446, section 4.2.11): the age of an external identity is 0.
func (p *Parser) preSharedKeys(identities octet.Reader) {
	for identities.Len() > 0 {
		identities.Vector16()
		age := identities.Uint32()
		if identities.Bad() {
			return
		}
		if age != 0 && p.identities < 64 {
			p.nonzeroAges |= 1 << p.identities
		}
		p.identities++
	}
}

// serverHello parses a ServerHello or a HelloRetryRequest (RFC 8446, section 4.1.3) and
// reports whether it is valid.
func (p *Parser) serverHello(at int, m []byte) bool {
	r := octet.From(m)
	version := r.Uint16()
	random := r.Bytes(32)
	session := r.Vector8()
	suite := r.Uint16()
	r.Uint8() // compression
	var extensions octet.Reader
	if r.Len() > 0 {
		extensions = r.Vector16()
	}
	var group uint16
	selected := -1
	for extensions.Len() > 0 {
		kind := extensions.Uint16()
		x := extensions.Vector16()
		switch kind {
		case extensionSupportedVersions:
			version = x.Uint16()
		case extensionKeyShare:
			group = x.Uint16()
		case extensionPreSharedKey:
			selected = int(x.Uint16())
		}
	}
	if r.Bad() || r.Len() > 0 || extensions.Bad() || session.Len() > 32 || p.datagrams != (version>>8 == dtls12>>8) {
		return false
	}
	p.setClient(1 - at)
	p.Version, p.Suite = version, suite
	if string(random) == helloRetryRequest {
		p.HelloRetryGroup = group
		return true
	}
	p.ServerHello = true
	p.Group = group
	if !p.modern() {
		p.Group = 0
		p.sameSession = session.Len() > 0 && bytes.Equal(session.Rest(), p.sessionID[:p.sessionIDLength])
		return true
	}
	switch {
	case selected < 0:
		p.Resumed = No
	case selected >= p.identities || selected >= 64:
		// The ClientHello that offered it was not seen.
	case p.nonzeroAges>>selected&1 == 1:
		p.Resumed = Yes
	default:
		p.ExternalPSK = true
	}
	return true
}

// legacy parses a message that is in plaintext up to TLS 1.2. A message of unexpected
// format is ignored.
func (p *Parser) legacy(fromClient bool, kind byte, m []byte) {
	switch {
	case kind == certificate && fromClient:
		p.ClientCertificate = firstCertificate(m)
	case kind == certificate:
		p.ServerCertificate = firstCertificate(m)
	case kind == certificateVerify && fromClient && tlsVersion(p.Version) == version12:
		r := octet.From(m)
		p.ClientSignature = r.Uint16()
	case kind == serverKeyExchange && !fromClient:
		p.serverKeyExchange(m)
	case kind == serverHelloDone && !fromClient:
		p.serverFlight = true
	}
}

// serverKeyExchange parses the server's half of a key exchange (RFC 5246, section
// 7.4.3, and RFC 8422, section 5.4).
func (p *Parser) serverKeyExchange(m []byte) {
	const namedCurve = 3
	kind := keyExchangeOf(p.Suite)
	r := octet.From(m)
	var group uint16
	var dhBits int
	signed := false
	switch kind {
	case keyECDHE, keyECDHESigned, keyECDHEPSK:
		if kind == keyECDHEPSK {
			r.Vector16() // hint
		}
		if r.Uint8() != namedCurve {
			return
		}
		group = r.Uint16()
		r.Vector8() // point
		signed = kind == keyECDHESigned
	case keyDHE, keyDHESigned, keyDHEPSK:
		if kind == keyDHEPSK {
			r.Vector16() // hint
		}
		prime := r.Vector16()
		r.Vector16() // generator
		r.Vector16() // public value
		dhBits = octet.BitLength(prime.Rest())
		signed = kind == keyDHESigned
	case keySRPSigned:
		r.Vector16() // prime
		r.Vector16() // generator
		r.Vector8()  // salt
		r.Vector16() // public value
		signed = true
	}
	var scheme uint16
	// Before TLS 1.2 the suite determines the signature algorithm.
	if signed && tlsVersion(p.Version) == version12 {
		scheme = r.Uint16()
	}
	if r.Bad() {
		return
	}
	p.Group, p.DHBits, p.ServerSignature = group, dhBits, scheme
}
