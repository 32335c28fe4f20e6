// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"strconv"
	"strings"

	"crypto-auditing/src/internal/wire/ssh"
	"crypto-auditing/src/internal/wire/tls"
)

// Context is a context of an operation, with the names of the registry.
type Context struct {
	Name string
	// Origin is the build-id of the library that the context is from, nil if it is
	// the operation's.
	Origin   []byte
	Elements []Element
	Contexts []Context
}

// Element is a key with its value: Text unless that is empty, else Word.
type Element struct {
	Key  string
	Text string
	Word int64
}

// word adds an element with a number.
func (c *Context) word(key string, value int64) {
	c.Elements = append(c.Elements, Element{Key: key, Word: value})
}

// known adds an element with a number unless it is 0, which means unknown.
func known[N int | uint16](c *Context, key string, value N) {
	if value != 0 {
		c.word(key, int64(value))
	}
}

func (c *Context) text(key, value string) {
	if value != "" {
		c.Elements = append(c.Elements, Element{Key: key, Text: value})
	}
}

func (c *Context) flag(key string, set bool) {
	if set {
		c.word(key, 1)
	}
}

// hold adds an inner context unless it is empty.
func (c *Context) hold(inner Context) {
	if len(inner.Elements) > 0 || len(inner.Contexts) > 0 {
		c.Contexts = append(c.Contexts, inner)
	}
}

// Operation returns the handshake as an operation. It contains no names, addresses or
// ports of peers.
func (h *Handshake) Operation() Context {
	if h.Protocol == SSH {
		return h.sshOperation()
	}
	return h.tlsOperation()
}

const (
	resultCompleted = "completed"
	resultInferred  = "inferred"
	resultFailed    = "failed"
	resultUnknown   = "unknown"

	roleClient = "client"
	roleServer = "server"
)

func (h *Handshake) tlsOperation() Context {
	t := &h.TLS
	c := Context{Name: "tls::handshake", Elements: make([]Element, 0, 8)}
	switch t.Role {
	case tls.Client:
		c.text("tls::role", roleClient)
	case tls.Server:
		c.text("tls::role", roleServer)
	}
	known(&c, "tls::protocol_version", t.Version)
	if t.Version != 0 {
		// Suite 0 is valid, too.
		c.word("tls::ciphersuite", int64(t.Suite))
	}
	if t.Resumed != 0 {
		resumed := int64(0)
		if t.Resumed == tls.Yes {
			resumed = 1
		}
		c.word("tls::resumed", resumed)
	}
	c.flag("tls::psk", t.ExternalPSK)
	c.flag("tls::early_data", t.EarlyData)
	c.text("tls::result", [...]string{tls.Unknown: resultUnknown, tls.Completed: resultCompleted, tls.Inferred: resultInferred, tls.Failed: resultFailed}[t.Result])
	if t.HasAlert {
		c.word("tls::alert", int64(t.Alert))
	}
	transport := "tcp"
	switch h.Protocol {
	case QUIC:
		transport = "quic"
	case DTLS:
		transport = "udp"
	}
	c.text("tls::transport", transport)
	if h.Suspected {
		c.text("tls::relay", "suspected")
	}

	exchange := Context{Name: "tls::key_exchange"}
	known(&exchange, "tls::group", t.Group)
	known(&exchange, "tls::hello_retry_group", t.HelloRetryGroup)
	known(&exchange, "pk::bits", t.DHBits)
	exchange.text("tls::offered_groups", groupNames(t.OfferedGroups()))
	c.hold(exchange)
	c.hold(certificateContext(t.ServerCertificate))
	own, peer := t.ServerSignature, t.ClientSignature
	ownCertificate, peerCertificate := tls.Certificate{}, t.ClientCertificate
	if t.Role == tls.Client {
		own, peer = peer, own
		ownCertificate, peerCertificate = peerCertificate, ownCertificate
	}
	c.hold(signatureContext("tls::sign", own, ownCertificate))
	c.hold(signatureContext("tls::verify", peer, peerCertificate))
	return c
}

// groupNames returns the registered names of groups, separated by commas.
func groupNames(groups []uint16) string {
	var b strings.Builder
	for i, g := range groups {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(tls.GroupName(g))
	}
	return b.String()
}

// signatureContext returns the context of a signature, with the certificate that
// belongs to it if it is the client's. The server's certificate is a separate context,
// as there may be no signature.
func signatureContext(name string, scheme uint16, certificate tls.Certificate) Context {
	c := Context{Name: name}
	known(&c, "tls::signature_algorithm", scheme)
	c.hold(certificateContext(certificate))
	return c
}

func certificateContext(certificate tls.Certificate) Context {
	c := Context{Name: "tls::certificate"}
	c.text("pk::algorithm", certificate.Algorithm)
	c.text("pk::curve", certificate.Curve)
	known(&c, "pk::bits", certificate.Bits)
	c.text("pk::hash", certificate.Hash)
	return c
}

func (h *Handshake) sshOperation() Context {
	s := &h.SSH
	c := Context{Name: "ssh::handshake", Elements: make([]Element, 0, 2), Contexts: make([]Context, 0, 2)}
	switch s.Role {
	case ssh.Client:
		c.text("ssh::role", roleClient)
	case ssh.Server:
		c.text("ssh::role", roleServer)
	}
	c.text("ssh::result", [...]string{ssh.Unknown: resultUnknown, ssh.Completed: resultCompleted, ssh.Failed: resultFailed}[s.Result])

	exchange := Context{Name: "ssh::key_exchange", Elements: make([]Element, 0, 8)}
	exchange.text("ssh::kex_algorithm", s.KeyExchange)
	if s.GroupBits != 0 {
		exchange.text("ssh::kex_group", strconv.Itoa(s.GroupBits))
	}
	exchange.text("ssh::key_algorithm", s.HostKey)
	exchange.text("ssh::c2s_cipher", s.C2SCipher)
	exchange.text("ssh::s2c_cipher", s.S2CCipher)
	exchange.text("ssh::c2s_mac", s.C2SMAC)
	exchange.text("ssh::s2c_mac", s.S2CMAC)
	exchange.text("ssh::c2s_compression", s.C2SCompression)
	exchange.text("ssh::s2c_compression", s.S2CCompression)
	c.hold(exchange)

	key := Context{Name: "ssh::server_key"}
	key.text("ssh::key_algorithm", s.KeyType)
	key.text("ssh::signature_algorithm", s.Signature)
	key.text("ssh::cert_signature_algorithm", s.CASignature)
	known(&key, "ssh::rsa_bits", s.RSABits)
	c.hold(key)
	return c
}
