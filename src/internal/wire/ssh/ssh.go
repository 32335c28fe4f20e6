// SPDX-License-Identifier: Apache-2.0

// Package ssh reads the plaintext beginning of an SSH connection: the algorithm lists
// of both sides and the key exchange up to NEWKEYS (RFC 4253). It verifies nothing
// cryptographically, trusts no length and keeps at most 64 KiB per connection.
package ssh

import (
	"bytes"
	"encoding/binary"
	"strings"

	"crypto-auditing/src/internal/wire/octet"
)

// Role is a side of a connection.
type Role uint8

// The roles; the zero value is unknown.
const (
	Client Role = iota + 1
	Server
)

// Result is the outcome of a handshake.
type Result uint8

// The results.
const (
	// Unknown: the end of the handshake was not seen.
	Unknown Result = iota
	// Completed: both sides sent NEWKEYS.
	Completed
	// Failed: a side disconnected before NEWKEYS, or the sides have no algorithm in
	// common.
	Failed
)

// Handshake is the content of the plaintext messages. Names are registered names or
// "other"; an empty text is unknown or not applicable.
type Handshake struct {
	Role Role
	// Offered reports whether the algorithm list of at least one side was read.
	Offered bool

	KeyExchange    string
	HostKey        string
	C2SCipher      string
	S2CCipher      string
	C2SMAC         string
	S2CMAC         string
	C2SCompression string
	S2CCompression string
	// GroupBits is the size of the group in a group exchange (RFC 4419).
	GroupBits int

	// Result is the outcome, as far as it was seen. It is set by Finish.
	Result Result

	// KeyType is the type of the server's key, Signature the algorithm of its
	// signature, CASignature the algorithm of the signature on its certificate.
	KeyType, Signature, CASignature string
	// RSABits is the size of an RSA key.
	RSABits int
}

const (
	// maxPacket is the longest packet that is kept, in bytes. An algorithm list has
	// one to three kilobytes, a reply with a certificate five.
	maxPacket = 16 << 10
	// maxLength is the longest packet that RFC 4253, section 6.1, allows.
	maxLength = 35000
	// maxBanner bounds the bytes before the first packet (RFC 4253, section 4.2).
	maxBanner = 64 << 10
	minPacket = 5
)

// Message numbers (RFC 4253, section 12; RFC 4419; RFC 4432).
const (
	messageDisconnect = 1
	messageKexInit    = 20
	messageNewKeys    = 21
	messageKex30      = 30
	messageKex31      = 31
	messageKex32      = 32
	messageKex33      = 33
	messageKex34      = 34
)

// The name lists of a KEXINIT, in order.
const (
	listKeyExchange = iota
	listHostKey
	listC2SCipher
	listS2CCipher
	listC2SMAC
	listS2CMAC
	listC2SCompression
	listS2CCompression
	lists
)

// A Parser parses both directions of a connection. The zero value is ready to use;
// Reset prepares it for reuse and keeps its buffers. It must be used by one goroutine
// only.
type Parser struct {
	Handshake

	directions   [2]direction // sent, received
	invalid      bool
	disconnected bool
	negotiated   bool
	noCommon     bool
}

type direction struct {
	started bool // the first packet was reached
	banner  int
	packet  []byte // the current one, with its length
	left    int    // bytes of the current packet to skip
	lists   []byte // of the KEXINIT
	ended   bool   // by NEWKEYS
}

// Reset prepares the parser for another connection.
func (p *Parser) Reset() {
	d := &p.directions
	packets, names := [2][]byte{d[0].packet, d[1].packet}, [2][]byte{d[0].lists, d[1].lists}
	*p = Parser{}
	for i := range d {
		d[i].packet, d[i].lists = packets[i][:0], names[i][:0]
	}
}

// Buffered returns the number of bytes that the parser holds beyond its own size.
func (p *Parser) Buffered() int {
	d := &p.directions
	return cap(d[0].packet) + cap(d[1].packet) + cap(d[0].lists) + cap(d[1].lists)
}

// Invalid reports whether the data are not SSH.
func (p *Parser) Invalid() bool { return p.invalid }

// Done reports whether nothing relevant can follow.
func (p *Parser) Done() bool {
	return p.invalid || p.disconnected || p.directions[0].ended && p.directions[1].ended
}

// Finish sets the fields that depend on all messages. Call it once, after the last
// message.
func (p *Parser) Finish() {
	switch {
	case p.directions[0].ended && p.directions[1].ended:
		p.Result = Completed
	case p.disconnected || p.noCommon:
		p.Result = Failed
	}
}

func index(received bool) int {
	if received {
		return 1
	}
	return 0
}

// Data parses the next bytes of a direction, split in any way. The lines before the
// first packet may be missing. b is not kept after the call.
func (p *Parser) Data(received bool, b []byte) {
	at := index(received)
	d := &p.directions[at]
	for len(b) > 0 && !d.ended && !p.invalid {
		if !d.started {
			b = p.skipBanner(d, b)
			continue
		}
		if d.left > 0 {
			n := min(d.left, len(b))
			d.left -= n
			b = b[n:]
			continue
		}
		// A complete packet is parsed without copying.
		if len(d.packet) == 0 && len(b) >= 4 {
			if n := int(binary.BigEndian.Uint32(b)); n <= len(b)-4 && n >= minPacket {
				p.read(at, b[4:4+n])
				b = b[4+n:]
				continue
			}
		}
		b = p.gather(at, b)
	}
}

// skipBanner skips the lines before the first packet. The first byte of that packet is
// 0, because no packet is long enough for another value.
func (p *Parser) skipBanner(d *direction, b []byte) []byte {
	if d.banner == 0 && b[0] == 0 {
		d.started = true
		return b
	}
	end := bytes.IndexByte(b, '\n')
	if end < 0 {
		end = len(b) - 1
		d.banner += len(b)
	} else {
		d.banner = 0
	}
	if d.banner > maxBanner {
		p.invalid = true
	}
	return b[end+1:]
}

// gather assembles a packet from pieces, and returns the rest of b.
func (p *Parser) gather(at int, b []byte) []byte {
	d := &p.directions[at]
	if need := 4 - len(d.packet); need > 0 {
		n := min(need, len(b))
		d.packet = append(d.packet, b[:n]...)
		if n < need {
			return nil
		}
		b = b[n:]
	}
	length := int(binary.BigEndian.Uint32(d.packet))
	if length < minPacket || length > maxLength {
		p.invalid = true
		return nil
	}
	n := min(4+length-len(d.packet), len(b))
	if len(d.packet)+n > maxPacket {
		// Too long to be relevant.
		d.left = 4 + length - len(d.packet) - n
		d.packet = d.packet[:0]
		return b[n:]
	}
	d.packet = append(d.packet, b[:n]...)
	if len(d.packet) == 4+length {
		p.read(at, d.packet[4:])
		d.packet = d.packet[:0]
	}
	return b[n:]
}

// read parses a packet without its length (RFC 4253, section 6).
func (p *Parser) read(at int, packet []byte) {
	padding := int(packet[0])
	if len(packet) > maxLength || padding+2 > len(packet) {
		p.invalid = true
		return
	}
	kind, m := packet[1], packet[2:len(packet)-padding]
	d := &p.directions[at]
	switch kind {
	case messageDisconnect:
		p.disconnected = true
	case messageKexInit:
		p.kexInit(at, m)
	case messageNewKeys:
		d.ended = true
	case messageKex30, messageKex32, messageKex34:
		// Sent by the client, except with RSA (RFC 4432), where the server sends 30.
		p.setRole(at, true)
	case messageKex31:
		p.setRole(at, false)
		if strings.HasPrefix(p.KeyExchange, "diffie-hellman-group-exchange-") {
			r := octet.From(m)
			prime := r.Vector32()
			if !r.Bad() {
				p.GroupBits = octet.BitLength(prime.Rest())
			}
			return
		}
		p.reply(m)
	case messageKex33:
		p.setRole(at, false)
		p.reply(m)
	}
}

// kexInit stores the name lists of a side.
func (p *Parser) kexInit(at int, m []byte) {
	d := &p.directions[at]
	if len(d.lists) > 0 {
		return
	}
	if _, ok := split(m); !ok {
		p.invalid = true
		return
	}
	p.Offered = true
	d.lists = append(d.lists[:0], m...)
	if p.Role == 0 {
		p.roleByIndicators(at, m)
	}
	p.negotiate()
}

// split returns the name lists of a KEXINIT (RFC 4253, section 7.1).
func split(m []byte) (names [lists][]byte, ok bool) {
	r := octet.From(m)
	r.Bytes(16) // cookie
	for i := range names {
		list := r.Vector32()
		names[i] = list.Rest()
	}
	return names, !r.Bad()
}

// roleByIndicators sets the role by names that only one of the sides sends.
func (p *Parser) roleByIndicators(at int, m []byte) {
	names, _ := split(m)
	for name := range bytes.SplitSeq(names[listKeyExchange], []byte(",")) {
		switch string(name) {
		case "ext-info-c", "kex-strict-c", "kex-strict-c-v00@openssh.com":
			p.setClient(at)
			return
		case "ext-info-s", "kex-strict-s", "kex-strict-s-v00@openssh.com":
			p.setClient(1 - at)
			return
		}
	}
}

func (p *Parser) setClient(at int) {
	p.Role = Client
	if at == index(true) {
		p.Role = Server
	}
}

// setRole sets the role by a message that only the client or only the server sends.
func (p *Parser) setRole(at int, client bool) {
	if p.Role != 0 {
		return
	}
	if !client {
		at = 1 - at
	}
	p.setClient(at)
	p.negotiate()
	if strings.HasPrefix(p.KeyExchange, "rsa") {
		p.setClient(1 - at)
		p.negotiated = false
		p.negotiate()
	}
}

// negotiate determines the algorithms once both lists and the role are known: the first
// name of the client that the server also has.
func (p *Parser) negotiate() {
	client := index(p.Role == Server)
	if p.negotiated || p.Role == 0 || len(p.directions[0].lists) == 0 || len(p.directions[1].lists) == 0 {
		return
	}
	p.negotiated = true
	clientLists, _ := split(p.directions[client].lists)
	serverLists, _ := split(p.directions[1-client].lists)
	pick := func(list int) string {
		for name := range bytes.SplitSeq(clientLists[list], []byte(",")) {
			if len(name) == 0 || list == listKeyExchange && indicator(name) {
				continue
			}
			for candidate := range bytes.SplitSeq(serverLists[list], []byte(",")) {
				if bytes.Equal(name, candidate) {
					return registered(name)
				}
			}
		}
		return ""
	}
	kex, key, c2s, s2c := pick(listKeyExchange), pick(listHostKey), pick(listC2SCipher), pick(listS2CCipher)
	if kex == "" || key == "" || c2s == "" || s2c == "" {
		p.noCommon = true
		return
	}
	p.KeyExchange, p.HostKey, p.C2SCipher, p.S2CCipher = kex, key, c2s, s2c
	if !authenticates(p.C2SCipher) {
		p.C2SMAC = pick(listC2SMAC)
	}
	if !authenticates(p.S2CCipher) {
		p.S2CMAC = pick(listS2CMAC)
	}
	p.C2SCompression, p.S2CCompression = pick(listC2SCompression), pick(listS2CCompression)
}

// authenticates reports whether a cipher needs no MAC algorithm.
func authenticates(cipher string) bool {
	return strings.Contains(strings.ToLower(cipher), "gcm") || strings.HasPrefix(cipher, "chacha20-poly1305")
}

// reply parses the server's reply: its key, its half of the exchange and its signature
// (RFC 4253, section 8; RFC 5656, section 4). GSS-API and RSA use other formats.
func (p *Parser) reply(m []byte) {
	if p.KeyExchange == "" || p.KeyExchange == other || strings.HasPrefix(p.KeyExchange, "gss-") || strings.HasPrefix(p.KeyExchange, "rsa") {
		return
	}
	r := octet.From(m)
	key := r.Vector32()
	r.Vector32() // public value
	signature := r.Vector32()
	if r.Bad() || r.Len() > 0 {
		return
	}
	kind, algorithm := key.Vector32(), signature.Vector32()
	if key.Bad() || signature.Bad() {
		return
	}
	p.KeyType, p.Signature = registered(kind.Rest()), registered(algorithm.Rest())
	p.key(key)
}

// key parses a public key after its type: numbers, and the additional fields of a
// certificate (OpenSSH's PROTOCOL.certkeys).
func (p *Parser) key(key octet.Reader) {
	certificate := strings.HasSuffix(p.KeyType, "-cert-v01@openssh.com")
	if certificate {
		key.Vector32() // nonce
	}
	name := strings.TrimSuffix(p.KeyType, "-cert-v01@openssh.com")
	numbers := 0
	switch {
	case name == "ssh-rsa":
		key.Vector32() // exponent
		modulus := key.Vector32()
		if !key.Bad() {
			p.RSABits = octet.BitLength(modulus.Rest())
		}
	case name == "ssh-ed25519":
		numbers = 1
	case strings.HasPrefix(name, "ecdsa-sha2-"):
		numbers = 2
	case name == "ssh-dss":
		numbers = 4
	default:
		return
	}
	if !certificate {
		return
	}
	for range numbers {
		key.Vector32()
	}
	key.Bytes(8 + 4) // serial, type
	key.Vector32()   // key id
	key.Vector32()   // principals
	key.Bytes(8 + 8) // validity
	key.Vector32()   // critical options
	key.Vector32()   // extensions
	key.Vector32()   // reserved
	key.Vector32()   // key of the certificate authority
	signature := key.Vector32()
	algorithm := signature.Vector32()
	if !key.Bad() && !signature.Bad() {
		p.CASignature = registered(algorithm.Rest())
	}
}
