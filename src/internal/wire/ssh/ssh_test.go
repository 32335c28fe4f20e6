// SPDX-License-Identifier: Apache-2.0

package ssh_test

import (
	"fmt"
	"maps"
	"testing"

	"crypto-auditing/src/internal/wire/ssh"
	"crypto-auditing/src/internal/wire/wiretest"
)

// feed passes a handshake to a parser, as seen by the side with the role, in portions of
// at most size bytes.
func feed(p *ssh.Parser, h *wiretest.Handshake, role ssh.Role, size int) {
	for _, portion := range h.Portions {
		for b := portion.Data; len(b) > 0; {
			n := min(len(b), size)
			p.Data(portion.FromClient == (role == ssh.Server), b[:n])
			b = b[n:]
		}
	}
	p.Finish()
}

// facts returns the values of the parser in the format of the captures.
func facts(p *ssh.Parser) map[string]string {
	m := map[string]string{"protocol": "ssh", "result": [...]string{"unknown", "completed", "failed"}[p.Result]}
	for key, value := range map[string]string{
		"kex": p.KeyExchange, "host_key": p.HostKey, "c2s_cipher": p.C2SCipher, "s2c_cipher": p.S2CCipher, "c2s_mac": p.C2SMAC, "s2c_mac": p.S2CMAC,
		"key": p.KeyType, "signature": p.Signature, "ca_signature": p.CASignature,
	} {
		if value != "" {
			m[key] = value
		}
	}
	for key, n := range map[string]int{"group_bits": p.GroupBits, "rsa_bits": p.RSABits} {
		if n != 0 {
			m[key] = fmt.Sprint(n)
		}
	}
	return m
}

func TestParserReadsHandshakesOfOtherPrograms(t *testing.T) {
	for _, c := range wiretest.Captures(t) {
		if c.Want["protocol"] != "ssh" {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			var p ssh.Parser
			for _, role := range []ssh.Role{ssh.Client, ssh.Server} {
				for _, size := range []int{1 << 20, 1, 3, 17} {
					p.Reset()
					feed(&p, &c.Handshake, role, size)
					if got := facts(&p); !maps.Equal(got, c.Want) || p.Role != role || p.Invalid() || p.KeyExchange != "" && p.C2SCompression != "none" {
						t.Errorf("role %d, portions of %d bytes:\n%v, want\n%v", role, size, got, c.Want)
					}
				}
			}
		})
	}
}

// packet encodes a packet with a message.
func packet(message []byte) []byte {
	const padding = 4
	n := 1 + len(message) + padding
	return append(append([]byte{0, 0, byte(n >> 8), byte(n), padding}, message...), 0, 0, 0, 0)
}

// kexInit returns a list of algorithms.
func kexInit(kex, key, cipher, mac string) []byte {
	m := append([]byte{20}, make([]byte, 16)...)
	for _, names := range []string{kex, key, cipher, cipher, mac, mac, "none", "none", "", ""} {
		m = append(append(m, 0, 0, byte(len(names)>>8), byte(len(names))), names...)
	}
	return packet(append(m, 0, 0, 0, 0, 0))
}

func TestNamesThatAreNotRegisteredAreNotRecorded(t *testing.T) {
	var p ssh.Parser
	list := kexInit("my-secret@example.org,ext-info-c", "gss-group14-sha256-toWM5Slw5Ew8Mqkay+al2g==", "aes128-cbc", "hmac-sha1")
	p.Data(false, list)
	p.Data(true, kexInit("my-secret@example.org,ext-info-s", "gss-group14-sha256-toWM5Slw5Ew8Mqkay+al2g==", "aes128-cbc", "hmac-sha1"))
	if p.Role != ssh.Client || p.KeyExchange != "other" || p.HostKey != "gss-group14-sha256-*" || p.C2SMAC != "hmac-sha1" {
		t.Errorf("%+v", p.Handshake)
	}
}

func TestTheFirstNameOfTheClientThatTheServerSupportsIsNegotiated(t *testing.T) {
	var p ssh.Parser
	p.Data(true, kexInit("kexguess2@matt.ucc.asn.au,curve25519-sha256,ecdh-sha2-nistp256", "ssh-ed25519,ssh-rsa", "aes256-ctr,aes128-ctr", "hmac-sha1,hmac-sha2-256"))
	p.Data(false, kexInit("kexguess2@matt.ucc.asn.au,ecdh-sha2-nistp256,curve25519-sha256", "ssh-rsa,ssh-ed25519", "aes128-ctr,aes256-ctr", "hmac-sha2-256,hmac-sha1"))
	if p.Role != 0 || p.KeyExchange != "" {
		t.Errorf("a role is known too early: %+v", p.Handshake)
	}
	p.Data(true, packet([]byte{30}))
	want := ssh.Handshake{
		Role: ssh.Server, Offered: true, KeyExchange: "curve25519-sha256", HostKey: "ssh-ed25519", C2SCipher: "aes256-ctr", S2CCipher: "aes256-ctr",
		C2SMAC: "hmac-sha1", S2CMAC: "hmac-sha1", C2SCompression: "none", S2CCompression: "none",
	}
	if p.Handshake != want {
		t.Errorf("%+v", p.Handshake)
	}
}

func TestWithRSATheServerSendsTheFirstMessage(t *testing.T) {
	var p ssh.Parser
	p.Data(false, kexInit("rsa2048-sha256", "ssh-rsa", "aes256-ctr", "hmac-sha1"))
	p.Data(true, kexInit("rsa2048-sha256", "ssh-rsa", "aes256-ctr", "hmac-sha1"))
	p.Data(true, packet([]byte{30}))
	if p.Role != ssh.Client || p.KeyExchange != "rsa2048-sha256" {
		t.Errorf("%+v", p.Handshake)
	}
}

func TestHandshakeFailsByDisconnecting(t *testing.T) {
	var p ssh.Parser
	p.Data(false, kexInit("curve25519-sha256,ext-info-c", "ssh-rsa", "aes256-ctr", "hmac-sha1"))
	p.Data(true, packet([]byte{1, 0, 0, 0, 3}))
	p.Finish()
	if p.Result != ssh.Failed || !p.Done() {
		t.Errorf("result %d", p.Result)
	}
}
