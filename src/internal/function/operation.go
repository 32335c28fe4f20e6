// SPDX-License-Identifier: Apache-2.0

package function

import (
	"fmt"
	"slices"

	"crypto-auditing/src/internal/layout"
	"crypto-auditing/src/internal/schema"
	"crypto-auditing/src/internal/wire"
	"crypto-auditing/src/internal/wire/tls"
)

// registered are the keys with the values that IANA has registered, and those with the names
// that the registry knows.
type registered struct {
	suites, groups, schemes    *schema.Key
	algorithms, curves, hashes *schema.Key
}

func newRegistered(r *schema.Registry) *registered {
	return &registered{
		suites: r.Key("tls::ciphersuite"), groups: r.Key("tls::group"), schemes: r.Key("tls::signature_algorithm"),
		algorithms: r.Key("pk::algorithm"), curves: r.Key("pk::curve"), hashes: r.Key("pk::hash"),
	}
}

const (
	tls13     = 0x304
	tls12     = 0x303
	anyTLS    = 0x10000 // TLS_ANY_VERSION: not chosen yet
	anyDTLS   = 0x1ffff
	badDTLS   = 0x100
	stateOK   = 1
	nullGroup = 0
	// providerGroup is greater than all TLS groups. Group ids from here are NIDs,
	// which OpenSSL stores for TLS 1.2.
	providerGroup = 0x1000000
)

// isVersion reports whether a number is a protocol version of OpenSSL.
func isVersion(v uint32) bool {
	return v >= 0x300 && v <= tls13 || v == 0xfeff || v == 0xfefd || v == badDTLS
}

// isPeers reports by the state of the handshake (OSSL_HANDSHAKE_STATE) whether the chain
// being verified is the peer's, that is, whether its Certificate was received. A server
// completes its own chain with the same function when it sends it. OpenSSL 3.2
// renumbered the states; the numbers are distinct where it matters.
func isPeers(state uint32) bool {
	switch state {
	case 4, 5: // TLS_ST_CR_CERT, TLS_ST_CR_COMP_CERT
		return true
	case 27, 30, 31: // TLS_ST_SR_CERT (27, 30 since 3.2), TLS_ST_SR_COMP_CERT
		return true
	}
	return false
}

func peersChain(c *Call) bool {
	if _, ok := c.Value(layout.Completed); ok {
		// GnuTLS verifies chains of peers only.
		return true
	}
	state, ok := c.Value(layout.HandState)
	return ok && isPeers(state)
}

// negotiated reports whether version and suite were negotiated, by the state in which a
// handshake failed: the side is certainly past the hellos.
func negotiated(state uint32, server bool) bool {
	if server {
		return state >= 24
	}
	return state >= 4 && state <= 11 || state >= 14 && state <= 19 || state >= 37
}

// values are the values of a handshake.
type values struct {
	server         bool
	version, suite uint16 // 0: unknown
	group          uint16
	resumed        bool
	known          bool // whether resumed is valid
	own, peer      uint16
	// signed: own and peer belong to this handshake, even if no operation was seen.
	signed bool
}

// read reads the values of a call. problem describes an impossible value, "" if none.
func (r *registered) read(c *Call) (v values, problem string) {
	if _, ok := c.Value(layout.Completed); ok {
		return r.readSession(c)
	}
	role, ok := c.Value(layout.Server)
	if !ok || role > 1 {
		return v, fmt.Sprintf("the role of a connection is %#x (%v)", role, ok)
	}
	v.server = role == 1
	version, ok := c.Value(layout.Version)
	switch {
	case !ok:
		return v, "a connection has no version"
	case isVersion(version):
		v.version = uint16(version)
	case version != anyTLS && version != anyDTLS:
		return v, fmt.Sprintf("the version of a connection is %#x", version)
	}
	state, ok := c.Value(layout.HandState)
	if c.Kind == Completed && (!ok || state != stateOK || v.version == 0) {
		return v, fmt.Sprintf("a completed handshake has the state %d and the version %#x", state, version)
	}
	if problem := r.readSuite(c, &v); problem != "" {
		return v, problem
	}
	if c.Kind != Completed && !negotiated(state, v.server) {
		v.version, v.suite = 0, 0
		return v, ""
	}
	if hit, ok := c.Value(layout.Resumed); ok && c.Kind == Completed {
		if hit > 1 {
			return v, fmt.Sprintf("resumed is %#x", hit)
		}
		v.resumed, v.known = hit == 1, true
	}
	if problem := r.readGroup(c, &v); problem != "" {
		return v, problem
	}
	return v, r.readSchemes(c, &v)
}

func (r *registered) readSuite(c *Call, v *values) (problem string) {
	suite, ok := c.Value(layout.CipherSuite)
	if !ok || suite == 0 {
		if c.Kind == Completed {
			return "a completed handshake has no cipher suite"
		}
		return ""
	}
	number := uint16(suite)
	_, exists := r.suites.Text(int64(number))
	if !exists || suite>>16 != 0 && suite>>16 != 0x0300 {
		return fmt.Sprintf("the cipher suite %#x is not registered", suite)
	}
	if c.Kind == Completed && (number>>8 == 0x13) != (v.version == tls13) {
		return fmt.Sprintf("the cipher suite %#x does not belong to the version %#x", suite, v.version)
	}
	v.suite = number
	return ""
}

// readGroup reads the group of this handshake's key exchange.
func (r *registered) readGroup(c *Call, v *values) (problem string) {
	own, hasOwn := c.Value(layout.Group)
	inSession, hasSession := c.Value(layout.SessionGroup)
	if own > 0xffff {
		return fmt.Sprintf("the group is %#x", own)
	}
	if v.version == tls13 {
		exchanged, ok := c.Value(layout.KeyExchanged)
		if exchanged > 1 {
			return fmt.Sprintf("whether keys were exchanged is %#x", exchanged)
		}
		if !hasOwn || ok && exchanged == 0 || c.Kind != Completed && !ok {
			return ""
		}
		if own == nullGroup || !r.isGroup(own) {
			if !ok && own == nullGroup {
				return ""
			}
			return fmt.Sprintf("the group %#x is not registered", own)
		}
		if c.Kind == Completed && hasSession && !v.resumed && v.known && inSession != own {
			return fmt.Sprintf("the group is %#x and %#x", own, inSession)
		}
		v.group = uint16(own)
		return ""
	}
	if c.Kind != Completed || v.resumed || !v.known {
		// The group may be from an earlier handshake.
		return ""
	}
	if hasSession && inSession != nullGroup && inSession < providerGroup {
		if inSession > 0xffff || !r.isGroup(inSession) {
			return fmt.Sprintf("the group of a session %#x is not registered", inSession)
		}
		v.group = uint16(inSession)
	}
	return ""
}

func (r *registered) isGroup(group uint32) bool {
	_, ok := r.groups.Text(int64(group))
	return ok
}

func (r *registered) readSchemes(c *Call, v *values) (problem string) {
	for _, s := range []struct {
		id layout.ValueID
		to *uint16
	}{{layout.OwnScheme, &v.own}, {layout.PeerScheme, &v.peer}} {
		scheme, ok := c.Value(s.id)
		if !ok || scheme == 0 {
			continue
		}
		if _, exists := r.schemes.Text(int64(scheme)); !exists || scheme > 0xffff {
			return fmt.Sprintf("the signature scheme %#x is not registered", scheme)
		}
		*s.to = uint16(scheme)
	}
	return ""
}

// signs reports whether the server certainly signed in the handshake, even if no
// operation was seen: TLS 1.3 without a pre-shared key, or a suite with a signature.
func (v *values) signs() bool {
	if v.version == tls13 {
		return v.known && !v.resumed
	}
	return v.version != 0 && v.known && !v.resumed && tls.IsSigned(v.suite)
}

// handshake returns an ended handshake with the parts of h, nil if it did not take
// place.
func (r *registered) handshake(c *Call, h *handshake) (*Operation, string) {
	v, problem := r.read(c)
	if problem != "" {
		return nil, problem
	}
	if state, _ := c.Value(layout.HandState); c.Kind == Abandoned && state == 0 {
		// Nothing was sent or received.
		return nil, ""
	}
	o := &Operation{
		Task: c.Task, Start: c.Start, End: c.Time, Executable: c.Executable, Unit: c.Unit, BuildID: slices.Clone(c.BuildID),
		Handshake: true, Role: "client", Version: v.version, Suite: v.suite, Group: v.group,
		Root: wire.Context{Name: "tls::handshake"},
	}
	if v.server {
		o.Role = "server"
	}
	root := &o.Root
	text(root, "tls::role", o.Role)
	if v.version != 0 {
		word(root, "tls::protocol_version", int64(v.version))
	}
	if v.suite != 0 {
		word(root, "tls::ciphersuite", int64(v.suite))
	}
	parts := sortParts(h)
	if v.known {
		switch {
		case !v.resumed:
			word(root, "tls::resumed", 0)
		default:
			word(root, "tls::resumed", 1)
		}
	}
	text(root, "tls::result", map[Kind]string{Completed: "completed", Failed: "failed", Abandoned: "abandoned"}[c.Kind])

	exchange := wire.Context{Name: "tls::key_exchange", Contexts: parts.exchange}
	if v.group != 0 {
		word(&exchange, "tls::group", int64(v.group))
	}
	hold(root, exchange)
	if parts.chain {
		root.Contexts = append(root.Contexts, wire.Context{Name: "tls::verify_cert_chain", Contexts: parts.chains})
	}
	// Without an operation, only the server's signature is certain.
	if v.peer != 0 && (len(parts.verify) > 0 || v.signed || !v.server && v.signs()) {
		hold(root, signature("tls::verify", v.peer, parts.verify))
	} else {
		parts.other = append(parts.other, parts.verify...)
	}
	if v.own != 0 && (len(parts.sign) > 0 || v.signed || v.server && v.signs()) {
		hold(root, signature("tls::sign", v.own, parts.sign))
	} else {
		parts.other = append(parts.other, parts.sign...)
	}
	root.Contexts = append(root.Contexts, parts.other...)
	return o, ""
}

func signature(name string, scheme uint16, operations []wire.Context) wire.Context {
	c := wire.Context{Name: name, Contexts: operations}
	word(&c, "tls::signature_algorithm", int64(scheme))
	return c
}

// partsByPlace are the operations of a handshake, grouped by the context they belong to.
type partsByPlace struct {
	exchange, sign, verify, chains, other []wire.Context
	// chain reports whether the peer's chain was verified.
	chain bool
}

func sortParts(h *handshake) (p partsByPlace) {
	if h == nil {
		return p
	}
	peers := map[uint32]bool{}
	for i := range h.parts {
		part := &h.parts[i]
		if part.verifyChain {
			peers[part.chain] = part.peersChain
			p.chain = p.chain || part.peersChain
			continue
		}
		c := part.operation.Root
		c.Origin = part.operation.BuildID
		to := &p.other
		switch {
		case part.chain != 0 && peers[part.chain]:
			to = &p.chains
		case part.chain != 0:
		case part.kind == layout.Sign:
			to = &p.sign
		case part.kind == layout.Verify:
			to = &p.verify
		case part.kind == layout.Generate, part.kind == layout.Derive, part.kind == layout.Encapsulate, part.kind == layout.Decapsulate:
			to = &p.exchange
		}
		*to = append(*to, c)
	}
	return p
}

// keyOperation returns an operation with a key.
func (r *registered) keyOperation(c *Call) (*Operation, string) {
	name := c.Operation.String()
	if name == "" {
		return nil, fmt.Sprintf("an operation has the number %d", c.Operation)
	}
	o := &Operation{
		Task: c.Task, Start: c.Time, End: c.Time, Executable: c.Executable, Unit: c.Unit, BuildID: slices.Clone(c.BuildID),
		Root: wire.Context{Name: "pk::" + name},
	}
	if !isName(c.Type) || !isName(c.Digest) || !isName(c.Group) {
		return nil, fmt.Sprintf("a name is %q, %q or %q", c.Type, c.Digest, c.Group)
	}
	root := &o.Root
	algorithm := c.Type
	if known, ok := r.algorithms.Canonical(c.Type); ok {
		algorithm = known
	}
	id, hasID := c.Value(layout.KeyID)
	if algorithm == "" && hasID {
		algorithm = algorithmOf(id)
	}
	switch _, rsa := c.Value(layout.ModulusWords); {
	case algorithm != "":
	case rsa:
		algorithm = "RSA"
	default:
		if _, ec := c.Value(layout.Curve); ec {
			algorithm = "EC/ECDSA"
		}
	}
	text(root, "pk::algorithm", algorithm)
	text(root, "pk::curve", r.curve(c))
	if _, ok := r.curves.Canonical(c.Group); !ok {
		text(root, "pk::group", c.Group)
	}
	if bits := bits(c); bits > 0 && bits <= maxBits {
		word(root, "pk::bits", int64(bits))
	}
	if c.Operation == layout.Sign || c.Operation == layout.Verify {
		text(root, "pk::hash", r.hash(c))
	}
	return o, ""
}

// maxBits is larger than the size of every key in use.
const maxBits = 65535

// bits returns the size of a key in bits, 0 if unknown.
func bits(c *Call) uint32 {
	if b, ok := c.Value(layout.KeyBits); ok && b != 0 && c.Operation != layout.Generate {
		return b
	}
	if c.SetBits != 0 {
		return c.SetBits
	}
	for _, id := range []layout.ValueID{layout.LegacyModulusWords, layout.ModulusWords} {
		if words, ok := c.Value(id); ok && words > 0 && words <= maxBits/64 {
			return words * 64
		}
	}
	return 0
}

// curve returns the name of the curve of a key, "" if unknown.
func (r *registered) curve(c *Call) string {
	if name, ok := r.curves.Canonical(c.Group); ok {
		return name
	}
	if c.SetCurve != 0 {
		return curveOf(c.SetCurve)
	}
	ids := []layout.ValueID{layout.Curve}
	switch id, ok := c.Value(layout.KeyID); {
	case c.Type == "EC":
		ids = append(ids, layout.KeyCurve)
	case c.Type == "" && ok && id == 408:
		ids = append(ids, layout.LegacyCurve)
	}
	for _, id := range ids {
		if nid, ok := c.Value(id); ok {
			return curveOf(nid)
		}
	}
	return ""
}

// hash returns the name of the digest of a signature, "" if it has none or it is
// unknown: a length does not identify a digest.
func (r *registered) hash(c *Call) string {
	if c.Digest != "" {
		name, _ := r.hashes.Canonical(c.Digest)
		return name
	}
	if nid, ok := c.Value(layout.DigestContextNID); ok {
		return hashOf(nid)
	}
	return hashOf(c.SetDigest)
}

// isName reports whether a string can be a name of OpenSSL.
func isName(text string) bool {
	for i := range len(text) {
		if c := text[i]; c <= ' ' && c != ' ' || c >= 0x7f {
			return false
		}
	}
	return true
}

// word adds a number to a context, text a string unless it is empty, which means unknown.
func word(c *wire.Context, key string, value int64) {
	c.Elements = append(c.Elements, wire.Element{Key: key, Word: value})
}

func text(c *wire.Context, key, value string) {
	if value != "" {
		c.Elements = append(c.Elements, wire.Element{Key: key, Text: value})
	}
}

// hold adds an inner context unless it is empty.
func hold(c *wire.Context, inner wire.Context) {
	if len(inner.Elements) > 0 || len(inner.Contexts) > 0 {
		c.Contexts = append(c.Contexts, inner)
	}
}
