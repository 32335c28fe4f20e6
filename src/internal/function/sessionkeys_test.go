// SPDX-License-Identifier: Apache-2.0

package function

import (
	"strings"
	"testing"

	"crypto-auditing/src/internal/layout"
)

// sha256Info and sha1Info are the beginnings of the DigestInfo of these digests, from package
// crypto/rsa and RFC 8017.
const (
	sha256Info = "\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20"
	sha1Info   = "\x30\x21\x30\x09\x06\x05\x2b\x0e\x03\x02\x1a\x05\x00\x04\x14"
)

// session returns an operation of GnuTLS with a key.
func session(o layout.Operation, algorithm uint32, n numbers) *Call {
	return &Call{
		Kind: KeyOperation, Operation: o, Time: 15, Task: 7<<32 | 8, Executable: "certtool", BuildID: sslID, Value: n.value,
		Session: true, Algorithm: algorithm,
	}
}

// over adds the first bytes and the length of the signed data.
func over(c *Call, first string, length uint32) *Call {
	c.Data, c.Input = []byte(first+"\xfe"), length
	return c
}

func generated(algorithm, number uint32) *Call {
	c := session(layout.Generate, algorithm, nil)
	c.SetBits = number
	return c
}

func TestNumbersOfGnuTLSBecomeNames(t *testing.T) {
	rsa := numbers{layout.ParametersModulusWords: 32, layout.ParametersCurve: 0}
	pss := rsa.with(numbers{layout.PSSDigest: 7})
	// The first parameter of an elliptic curve is not a modulus.
	ec := numbers{layout.ParametersCurve: 2, layout.ParametersModulusWords: 4, layout.DSADigest: 3}
	for name, c := range map[string]struct {
		call *Call
		want string
	}{
		"RSA":                         {over(session(layout.Sign, 1, rsa), sha256Info, 51), "pk::sign algorithm=RSA bits=0x800 hash=SHA256"},
		"SHA-1":                       {over(session(layout.Verify, 1, rsa), sha1Info, 35), "pk::verify algorithm=RSA bits=0x800 hash=SHA1"},
		"raw data":                    {over(session(layout.Sign, 1, rsa), "\x01\x02", 36), "pk::sign algorithm=RSA bits=0x800"},
		"data of another length":      {over(session(layout.Sign, 1, rsa), sha256Info, 52), "pk::sign algorithm=RSA bits=0x800"},
		"RSA-PSS":                     {over(session(layout.Sign, 6, pss), "", 48), "pk::sign algorithm=RSA-PSS bits=0x800 hash=SHA384"},
		"RSA-PSS of another length":   {over(session(layout.Sign, 6, pss), "", 32), "pk::sign algorithm=RSA-PSS bits=0x800"},
		"ECDSA":                       {over(session(layout.Sign, 4, ec), "", 20), "pk::sign algorithm=EC/ECDSA curve=SECP256R1 bits=0x100 hash=SHA1"},
		"ECDSA of another length":     {over(session(layout.Sign, 4, ec), "", 32), "pk::sign algorithm=EC/ECDSA curve=SECP256R1 bits=0x100"},
		"ECDSA verified":              {over(session(layout.Verify, 4, ec.with(numbers{layout.SignatureNumber: 14})), "", 32), "pk::verify algorithm=EC/ECDSA curve=SECP256R1 bits=0x100 hash=SHA256"},
		"ECDSA with an unknown hash":  {over(session(layout.Verify, 4, ec), "", 20), "pk::verify algorithm=EC/ECDSA curve=SECP256R1 bits=0x100"},
		"a curve of a later version":  {over(session(layout.Verify, 4, ec.with(numbers{layout.ParametersCurve: 99})), "", 20), "pk::verify algorithm=EC/ECDSA"},
		"Ed25519":                     {over(session(layout.Sign, 7, ec), "", 32), "pk::sign algorithm=EdDSA (Ed25519)"},
		"DSA":                         {over(session(layout.Verify, 2, rsa.with(numbers{layout.SignatureNumber: 11})), "", 32), "pk::verify algorithm=DSA hash=SHA256"},
		"an algorithm of a later one": {session(layout.Decrypt, 777, nil), "pk::decrypt"},
		"decryption":                  {session(layout.Decrypt, 1, rsa), "pk::decrypt algorithm=RSA bits=0x800"},
		"a requested curve":           {generated(4, 3), "pk::generate algorithm=EC/ECDSA curve=SECP384R1 bits=0x180"},
		"a requested size":            {generated(1, 3072), "pk::generate algorithm=RSA bits=0xc00"},
		"X25519":                      {generated(5, 6), "pk::generate algorithm=ECDH (X25519)"},
		"finite field":                {generated(3, 276), "pk::generate algorithm=DH"},
		"an impossible curve":         {generated(4, 70000), "pk::generate algorithm=EC/ECDSA"},
		"an impossible algorithm":     {generated(70000, 1), ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, source, got, quarantined := tracked(t, c.call)
			if got = strings.TrimSuffix(got, "\n"); got != c.want {
				t.Errorf("the operation is %q, want %q", got, c.want)
			}
			if len(quarantined) > 0 || source.Standing(sslID).Refused > 0 {
				t.Errorf("the library is in quarantine or has refused values: %q", quarantined)
			}
		})
	}
}

func TestAnImpossibleNumberQuarantinesGnuTLS(t *testing.T) {
	rsa := numbers{layout.ParametersModulusWords: 32}
	for name, call := range map[string]*Call{
		"algorithm":                   session(layout.Sign, 0x7f0012, rsa),
		"no algorithm":                session(layout.Sign, 0, rsa),
		"curve":                       session(layout.Derive, 4, numbers{layout.ParametersCurve: 0x7f0012}),
		"digest of RSA-PSS":           over(session(layout.Verify, 6, rsa.with(numbers{layout.PSSDigest: 0x7f0012})), "", 32),
		"digest of ECDSA":             over(session(layout.Sign, 4, numbers{layout.ParametersCurve: 2, layout.DSADigest: 0x7f0012}), "", 32),
		"signature":                   over(session(layout.Verify, 4, numbers{layout.ParametersCurve: 2, layout.SignatureNumber: 0x7f0012}), "", 32),
		"digest of another algorithm": over(session(layout.Verify, 1, rsa.with(numbers{layout.SignatureNumber: 1})), sha256Info, 51),
		"RSA-PSS of another digest":   over(session(layout.Verify, 6, rsa.with(numbers{layout.PSSDigest: 6, layout.SignatureNumber: 33})), "", 32),
	} {
		t.Run(name, func(t *testing.T) {
			_, source, got, quarantined := tracked(t, call, over(session(layout.Sign, 1, rsa), sha256Info, 51))
			if got != "" || len(quarantined) != 1 || source.Standing(sslID).Quarantine == nil {
				t.Errorf("recorded %q, quarantine: %q, %v", got, quarantined, source.Standing(sslID).Quarantine)
			}
		})
	}
}

// A program verifies the chain of its peer in a function that the handshake calls.
func TestOperationsOfGnuTLSBelongToTheirHandshake(t *testing.T) {
	ec := numbers{layout.ParametersCurve: 2}
	signature := func(c *Call) *Call { return over(c, "", 32) }
	peers := &Call{Kind: Chain, Chain: 3, Connection: 5, Task: 7<<32 | 8, Executable: "gnutls-cli", BuildID: sslID, Value: numbers{layout.Completed: 0}.value}
	handshake := end(Completed, session13())
	_, _, got, quarantined := tracked(t,
		inside(generated(4, 2), 0), inside(generated(5, 6), 0), inside(session(layout.Derive, 5, nil), 0),
		peers, inside(signature(session(layout.Verify, 4, ec.with(numbers{layout.SignatureNumber: 14}))), 3),
		inside(signature(session(layout.Verify, 4, ec.with(numbers{layout.SignatureNumber: 37}))), 0),
		handshake)
	want := `tls::handshake role=client protocol_version=0x304 ciphersuite=0x1302 result=completed
  tls::key_exchange group=0x1d
    pk::generate algorithm=EC/ECDSA curve=SECP256R1 bits=0x100
    pk::generate algorithm=ECDH (X25519)
    pk::derive algorithm=ECDH (X25519)
  tls::verify_cert_chain
    pk::verify algorithm=EC/ECDSA curve=SECP256R1 bits=0x100 hash=SHA256
  tls::verify signature_algorithm=0x403
    pk::verify algorithm=EC/ECDSA curve=SECP256R1 bits=0x100 hash=SHA256
`
	if got != want || len(quarantined) > 0 {
		t.Errorf("the operations are\n%swant\n%s%q", got, want, quarantined)
	}
}
