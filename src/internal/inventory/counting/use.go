// SPDX-License-Identifier: Apache-2.0

package counting

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/inventory/row"
	"crypto-auditing/src/internal/schema"
)

// Kinds of contexts that are parts of handshakes.
const (
	tlsKeyExchange = "tls::key_exchange"
	tlsSign        = "tls::sign"
	tlsVerify      = "tls::verify"
	tlsCertificate = "tls::certificate"
	sshKeyExchange = "ssh::key_exchange"
	sshClientKey   = "ssh::client_key"
	sshServerKey   = "ssh::server_key"

	keyOperation = "pk::" // prefix of operations with keys
)

// Keys whose values are needed by name.
const (
	keyVersion = "tls::protocol_version"
	keySuite   = "tls::ciphersuite"
	keyGroup   = "tls::group"
	keyScheme  = "tls::signature_algorithm"
	keyRole    = "tls::role"
	keyBits    = "pk::bits"
)

const (
	failed = "failed"
	tls13  = "TLS 1.3"
)

// reader derives uses from trees. It is for use by one goroutine.
type reader struct {
	registry *schema.Registry
	normal   *normal
	// kinds are the kinds of contexts by name.
	kinds                          cache[string]
	libraries                      cache[string] // build-ids
	executables                    cache[string]
	version, suite, group, scheme  numbers
	resumed, extended, sshRSA, bit *schema.Key

	// use is the use that is being read, with the properties of the operation.
	use            row.Use
	failed, relay  bool
	exchanged      string
	groupBits      int
	visitExchanges func(*schema.Span) bool
}

// numbers are the names of the numbers of a key.
type numbers struct {
	key   *schema.Key
	names map[int64]string
}

// text returns the name of a number, or 0x1234 if it has none.
func (n *numbers) text(v *event.Value) string {
	if v.Kind != event.Word {
		return ""
	}
	number := n.key.Number(v.Word)
	name, ok := n.names[number]
	if !ok {
		if name, ok = n.key.Text(number); !ok {
			name = fmt.Sprintf("0x%04x", uint64(number))
		}
		if len(n.names) < maxCached {
			n.names[number] = name
		}
	}
	return name
}

func newReader(r *schema.Registry) (*reader, error) {
	n, err := newNormal(r)
	if err != nil {
		return nil, err
	}
	numbersOf := func(key string) numbers { return numbers{key: r.Key(key), names: make(map[int64]string)} }
	to := &reader{
		registry: r, normal: n,
		libraries:   newCache(func(id string) string { return text(hex.EncodeToString([]byte(id))) }),
		executables: newCache(func(name string) string { return text(event.Escaped(name)) }),
		kinds: newCache(func(name string) string {
			// A name that implies data, such as tls::handshake_client, is another name of its kind.
			if c := r.Context(name); c != nil && len(c.Implied) > 0 {
				return c.Kind
			}
			return text(name)
		}),
		version: numbersOf(keyVersion), suite: numbersOf(keySuite), group: numbersOf(keyGroup), scheme: numbersOf(keyScheme),
		resumed: r.Key("tls::resumed"), extended: r.Key("tls::extended_master_secret"),
		sshRSA: r.Key("ssh::rsa_bits"), bit: r.Key(keyBits),
	}
	to.visitExchanges = to.exchange
	return to, nil
}

// read passes the uses of a complete tree to count: the root if it is a handshake, and the operations
// with keys, except the parts of a key exchange.
func (r *reader) read(root *schema.Span, count func(s *schema.Span)) {
	kind := r.kinds.getText(root.Name)
	r.failed, r.relay = false, false
	switch kind {
	case row.TLSHandshake:
		r.begin(root, root, kind)
		if r.tls(root) {
			count(root)
		}
	case row.SSHHandshake:
		r.begin(root, root, kind)
		if r.ssh(root) {
			count(root)
		}
	}
	r.failed, r.relay = false, false
	r.operations(root, root, kind, count)
}

// operations passes the operations with keys in a part of a tree to count.
func (r *reader) operations(root, s *schema.Span, within string, count func(s *schema.Span)) {
	kind := r.kinds.getText(s.Name)
	if kind == tlsKeyExchange {
		return // the group represents them
	}
	if strings.HasPrefix(kind, keyOperation) {
		r.begin(root, s, kind)
		if s != root {
			r.use.Within = within
		}
		r.key(s, kind)
		count(s)
	}
	for _, inner := range s.Spans {
		r.operations(root, inner, within, count)
	}
}

// begin begins a use with the attributes of a span.
func (r *reader) begin(root, s *schema.Span, kind string) {
	r.use = row.Use{
		Executable: r.executables.getText(cmp.Or(s.Executable, root.Executable)),
		Unit:       r.normal.units.getText(cmp.Or(s.Unit, root.Unit)),
		Source:     cmp.Or(r.normal.texts.getText(cmp.Or(s.Source, root.Source)), string(event.USDT)),
		Operation:  kind,
	}
	if s.Origin != "" {
		r.use.LibraryID = r.libraries.getText(s.Origin)
	}
	if v, ok := s.Value(event.KeyLibrary); ok {
		r.use.Library = r.normal.texts.get(v.Bytes)
	}
}

// role sets the role of a handshake.
func (r *reader) role(v *event.Value) {
	if text := string(v.Bytes); text == "client" || text == "server" {
		r.use.Role = r.normal.texts.get(v.Bytes)
	}
}

// yes returns yes or no for a boolean.
func yes(k *schema.Key, v *event.Value) string {
	if v.Kind != event.Word {
		return ""
	}
	text, _ := k.Text(v.Word)
	return text
}

// size returns a number of bits.
func size(k *schema.Key, v *event.Value) int {
	if v.Kind != event.Word {
		return 0
	}
	return int(max(k.Number(v.Word), 0))
}

// tls reads a TLS handshake. It returns false if only the role was recorded, for example if a client's
// library is entered again for a message after the handshake.
func (r *reader) tls(root *schema.Span) bool {
	u := &r.use
	if c := r.registry.Context(root.Name); c != nil {
		u.Role = c.Implied[keyRole]
	}
	for i := range root.Data {
		v := &root.Data[i].Value
		switch root.Data[i].Key {
		case keyRole:
			r.role(v)
		case keyVersion:
			u.Version = r.version.text(v)
		case keySuite:
			u.Suite = r.suite.text(v)
		case "tls::resumed":
			u.Resumed = yes(r.resumed, v)
		case "tls::extended_master_secret":
			u.ExtendedSecret = yes(r.extended, v)
		case "tls::transport":
			u.Transport = r.normal.texts.get(v.Bytes)
		case "tls::result":
			r.failed = string(v.Bytes) == failed
		case "tls::relay":
			r.relay = true
		}
	}
	if u.Version == tls13 {
		u.ExtendedSecret = ""
	}
	for _, s := range root.Spans {
		switch r.kinds.getText(s.Name) {
		case tlsSign:
			if v, ok := s.Value(keyScheme); ok {
				u.Signature = r.scheme.text(&v)
			}
		case tlsVerify:
			if v, ok := s.Value(keyScheme); ok {
				u.PeerSignature = r.scheme.text(&v)
			}
		case tlsCertificate:
			r.key(s, "")
		}
	}
	r.exchanged, r.groupBits = "", 0
	r.registry.WalkResults(root, keyGroup, r.visitExchanges)
	u.Group = r.exchanged
	if u.Group == "" {
		u.GroupBits = r.groupBits
	}
	return u.Version != "" || u.Suite != "" || u.Group != "" || u.Signature != "" || u.PeerSignature != "" || u.Algorithm != "" || r.failed
}

// exchange reads a key exchange whose group is a result.
func (r *reader) exchange(s *schema.Span) bool {
	if r.kinds.getText(s.Name) != tlsKeyExchange {
		return true
	}
	if v, ok := s.Value(keyGroup); ok {
		r.exchanged = r.group.text(&v)
	}
	if v, ok := s.Value(keyBits); ok {
		r.groupBits = size(r.bit, &v)
	}
	return true
}

// ssh reads an SSH handshake. It returns false if no parameter was recorded.
func (r *reader) ssh(root *schema.Span) bool {
	u := &r.use
	for i := range root.Data {
		v := &root.Data[i].Value
		switch root.Data[i].Key {
		case "ssh::role":
			r.role(v)
		case "ssh::result":
			r.failed = string(v.Bytes) == failed
		}
	}
	for _, s := range root.Spans {
		switch r.kinds.getText(s.Name) {
		case sshKeyExchange:
			r.sshExchange(s)
		case sshServerKey:
			key, bits := r.sshKey(s)
			u.HostKey, u.Bits = cmp.Or(u.HostKey, key), bits
		case sshClientKey:
			u.ClientKey, _ = r.sshKey(s)
		}
	}
	return u.Kex != "" || u.HostKey != "" || u.ClientKey != "" || r.failed
}

func (r *reader) sshExchange(s *schema.Span) {
	for i := range s.Data {
		text := r.normal.texts.get(s.Data[i].Value.Bytes)
		switch s.Data[i].Key {
		case "ssh::kex_algorithm":
			r.use.Kex = text
		case "ssh::kex_group":
			// Its size in digits, or a name.
			if bits, err := strconv.ParseUint(text, 10, 31); err == nil {
				r.use.GroupBits = int(bits)
			}
		case "ssh::key_algorithm":
			r.use.HostKey = text
		case "ssh::c2s_cipher":
			r.use.CipherOut = text
		case "ssh::s2c_cipher":
			r.use.CipherIn = text
		case "ssh::c2s_mac":
			r.use.MACOut = text
		case "ssh::s2c_mac":
			r.use.MACIn = text
		}
	}
}

// sshKey returns the algorithm of the signature of a key, and the size of an RSA key.
func (r *reader) sshKey(s *schema.Span) (algorithm string, bits int) {
	var key, signature string
	for i := range s.Data {
		v := &s.Data[i].Value
		switch s.Data[i].Key {
		case "ssh::key_algorithm":
			key = r.normal.texts.get(v.Bytes)
		case "ssh::signature_algorithm":
			signature = r.normal.texts.get(v.Bytes)
		case "ssh::rsa_bits":
			bits = size(r.sshRSA, v)
		}
	}
	return cmp.Or(signature, key), bits
}

// key reads an operation with a key, or a certificate if kind is empty.
func (r *reader) key(s *schema.Span, kind string) {
	u := &r.use
	var known algorithm
	var ownGroup group
	for i := range s.Data {
		v := &s.Data[i].Value
		key := s.Data[i].Key
		if key == keyBits {
			u.Bits = size(r.bit, v)
			continue
		}
		if v.Kind != event.String || len(v.Bytes) == 0 {
			continue
		}
		switch key {
		case "pk::algorithm":
			known = r.normal.algorithms.get(v.Bytes)
		case "pk::curve":
			g := r.normal.groups.get(v.Bytes)
			u.Curve = g.name
			ownGroup.algorithm = cmp.Or(ownGroup.algorithm, g.algorithm)
		case "pk::group":
			ownGroup = r.normal.groups.get(v.Bytes)
			u.Group = ownGroup.name
		case "pk::hash":
			u.Hash = r.normal.hashes.get(v.Bytes)
		case "pk::rsa_padding":
			u.Padding = r.normal.paddings.get(v.Bytes)
		}
	}
	if known.name == "" && ownGroup.algorithm != "" {
		known = r.normal.algorithms.getText(ownGroup.algorithm)
	}
	u.Algorithm = known.name
	if name := known.in[kind]; name != "" {
		u.Algorithm = name
	}
	u.Padding = cmp.Or(u.Padding, known.padding)
	// Libraries repeat the only curve of an algorithm, or call the curve a group.
	if u.Curve == "" && strings.HasPrefix(u.Algorithm, "EC") {
		u.Curve, u.Group = u.Group, ""
	}
	if strings.EqualFold(u.Curve, u.Algorithm) {
		u.Curve = ""
	}
	if strings.EqualFold(u.Group, ownGroup.name) && strings.EqualFold(ownGroup.algorithm, u.Algorithm) && u.Algorithm != "DH" {
		u.Group = ""
	}
}
