// SPDX-License-Identifier: Apache-2.0

package policycheck

import (
	"slices"
	"strings"

	"crypto-auditing/src/internal/inventory/cryptopolicy"
	"crypto-auditing/src/internal/inventory/row"
)

// tls judges a handshake of TLS, DTLS or QUIC.
func (j *judge) tls(use *row.Use) {
	j.protocol(use.Version)
	s, ok := parseSuite(use.Suite)
	switch {
	case use.Suite == "":
		j.missing(cryptopolicy.Cipher, "the cipher suite")
	case !ok:
		j.undecidable(cryptopolicy.Cipher, use.Suite, "the cipher suite is not known")
	default:
		j.requires(cryptopolicy.Cipher, s.cipher, use.Suite)
		j.requires(cryptopolicy.MAC, s.mac, use.Suite)
		if s.hash != "" {
			j.requires(cryptopolicy.Hash, s.hash, use.Suite)
		}
		j.omitted(&s)
	}
	modern := use.Version == "TLS 1.3" || use.Version == "DTLS 1.3"
	resumed := use.Resumed == "yes"
	if modern {
		j.modernExchange(use.Group, resumed)
	} else if ok && !resumed {
		j.olderExchange(&s, use)
	}
	if !modern && use.Version != "" && j.scoped.Enum(cryptopolicy.ExtendedSecret) == "ENFORCE" {
		j.extendedSecret(use.ExtendedSecret)
	}
	if !resumed && (modern || s.signed) {
		j.handshakeSignature(use)
	}
	if !resumed && (!ok || s.keyExchange != "PSK" && s.keyExchange != "ANON") {
		j.certificate(use)
	}
}

func (j *judge) protocol(version string) {
	name := protocolName(version)
	switch {
	case version == "":
		j.missing(cryptopolicy.Protocol, "the version")
	case name != "" && !j.scoped.Allows(cryptopolicy.Protocol, name) && j.between(name):
		j.undecidable(cryptopolicy.Protocol, name, "the policy does not list it, but "+j.backEnd.name+" cannot leave it out between others")
	default:
		j.requires(cryptopolicy.Protocol, name, version)
	}
}

// between reports whether a version that the policy does not list is enabled nevertheless:
// OpenSSL's configuration has only an oldest and a newest version, NSS's only an oldest one.
func (j *judge) between(name string) bool {
	family := []string{"SSL2.0", "SSL3.0", "TLS1.0", "TLS1.1", "TLS1.2", "TLS1.3"}
	if strings.HasPrefix(name, "DTLS") {
		family = []string{"DTLS0.9", "DTLS1.0", "DTLS1.2"}
	}
	at := slices.Index(family, name)
	listed := func(version string) bool { return j.scoped.Allows(cryptopolicy.Protocol, version) }
	older, newer := slices.ContainsFunc(family[:at], listed), slices.ContainsFunc(family[at:], listed)
	return older && (j.backEnd.name == nss || newer && j.backEnd.name == openSSL)
}

// omitted adds findings about values that the policy lists but configurations leave out.
func (j *judge) omitted(s *suite) {
	switch j.backEnd.name {
	case openSSL:
		if strings.HasPrefix(s.cipher, "CAMELLIA-") {
			j.notEnabled(cryptopolicy.Cipher, s.cipher)
		}
		if s.mac == "HMAC-SHA2-384" && s.keyExchange != "" {
			j.notEnabled(cryptopolicy.MAC, s.mac)
		}
		if s.rsa && !j.scoped.Allows(cryptopolicy.KeyExchange, "DHE-RSA") { // all suites with such keys go with it
			j.notEnabled(cryptopolicy.KeyExchange, s.keyExchange)
		}
	case gnuTLS:
		if s.mac == "HMAC-SHA2-256" || s.mac == "HMAC-SHA2-384" {
			j.notEnabled(cryptopolicy.MAC, s.mac)
		}
		if strings.HasSuffix(s.keyExchange, "PSK") {
			j.notEnabled(cryptopolicy.KeyExchange, s.keyExchange)
		}
	}
}

// modernExchange judges the key exchange of TLS 1.3, which the group determines.
func (j *judge) modernExchange(group string, resumed bool) {
	name := groupName(group)
	switch {
	case group == "" && resumed: // may be without
	case group == "":
		j.missing(cryptopolicy.Group, "the group")
	case hybrid(name):
		j.requires(cryptopolicy.Group, name, group)
		if j.scoped.Allows(cryptopolicy.Group, name) && !j.scoped.Allows(cryptopolicy.KeyExchange, "KEM-ECDH") {
			j.undecidable(cryptopolicy.KeyExchange, "KEM-ECDH", "the policy lists the group "+name+", but not this key exchange, which TLS libraries do not look at")
		}
	case ffdheBits(group) != 0:
		j.requires(cryptopolicy.Group, name, group)
		if !j.scoped.Allows(cryptopolicy.KeyExchange, "DHE-RSA") {
			j.requires(cryptopolicy.KeyExchange, "DHE", group)
		}
		j.size(cryptopolicy.MinDHSize, ffdheBits(group), "")
	default:
		j.requires(cryptopolicy.Group, name, group)
		if name != "" {
			j.requires(cryptopolicy.KeyExchange, "ECDHE", group)
		}
	}
}

// olderExchange judges the key exchange of TLS 1.2 and older, which the suite determines.
func (j *judge) olderExchange(s *suite, use *row.Use) {
	j.requires(cryptopolicy.KeyExchange, s.keyExchange, use.Suite)
	switch s.keyExchange {
	case "ECDHE", "ECDHE-PSK":
		if use.Group == "" {
			j.missing(cryptopolicy.Group, "the group")
			return
		}
		j.requires(cryptopolicy.Group, groupName(use.Group), use.Group)
	case "DHE-RSA", "DHE-DSS", "DHE-PSK":
		j.size(cryptopolicy.MinDHSize, max(ffdheBits(use.Group), use.GroupBits), "the size of the group")
		switch {
		case j.scoped.Integer(cryptopolicy.ArbitraryDHGroups) != 0:
		case use.Group != "":
			j.requires(cryptopolicy.Group, groupName(use.Group), use.Group)
		case use.GroupBits != 0: // a group without a name
			j.deny(cryptopolicy.ArbitraryDHGroups, "0", "the policy allows no group but those it lists")
		default:
			j.missing(cryptopolicy.Group, "the group")
		}
	}
}

func (j *judge) extendedSecret(recorded string) {
	switch recorded {
	case "yes":
	case "no":
		j.deny(cryptopolicy.ExtendedSecret, "no", "the policy demands the extended master secret")
	default:
		j.missing(cryptopolicy.ExtendedSecret, "the use of the extended master secret")
	}
}

// handshakeSignature judges the server's signature, and the client's if there was one.
func (j *judge) handshakeSignature(use *row.Use) {
	server, client := use.PeerSignature, use.Signature
	if use.Role == "server" {
		server, client = client, server
	}
	if server == "" {
		j.missing(cryptopolicy.Sign, "the signature")
	} else {
		j.scheme(server)
	}
	if client != "" && client != server {
		j.scheme(client)
	}
}

func (j *judge) scheme(scheme string) {
	if name := schemeName(scheme); !j.signs(name) {
		j.requires(cryptopolicy.Sign, name, scheme)
	}
}

// certificate judges the key of the server's certificate.
func (j *judge) certificate(use *row.Use) {
	signature := use.PeerSignature
	if use.Role == "server" {
		signature = use.Signature
	}
	switch {
	case use.Algorithm != "":
		j.key(use)
	case signature == "", strings.HasPrefix(signature, "rsa_"):
		j.size(cryptopolicy.MinRSASize, 0, "the key of the certificate")
	}
}

// key judges the size of a key.
func (j *judge) key(use *row.Use) {
	switch use.Algorithm {
	case "RSA":
		j.size(cryptopolicy.MinRSASize, use.Bits, "the size of the key")
	case "DSA":
		j.size(cryptopolicy.MinDSASize, use.Bits, "the size of the key")
	case "EC", "ECDSA":
		if j.backEnd.name == javaTLS { // no other back end checks the size
			j.size(cryptopolicy.MinECSize, curveBits(use), "the size of the key")
		}
	}
}

// curveBits returns the size of a key on an elliptic curve, 0 if it is unknown.
func curveBits(use *row.Use) int {
	if use.Bits != 0 {
		return use.Bits
	}
	switch {
	case strings.Contains(use.Curve, "256"):
		return 256
	case strings.Contains(use.Curve, "384"):
		return 384
	case strings.Contains(use.Curve, "521"):
		return 521
	case strings.Contains(use.Curve, "512"):
		return 512
	case strings.Contains(use.Curve, "224"):
		return 224
	}
	return 0
}
