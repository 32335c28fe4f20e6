// SPDX-License-Identifier: Apache-2.0

package tls_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	gotls "crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"testing"

	"crypto-auditing/src/internal/wire/tls"
	"crypto-auditing/src/internal/wire/wiretest"
)

// feed passes a handshake to a parser, as seen by the side with the role, in portions of
// at most size bytes. It stops in each direction where encryption begins.
func feed(p *tls.Parser, h *wiretest.Handshake, role tls.Role, size int) {
	var at, plain [2]int
	for i, fromClient := range []bool{true, false} {
		plain[i] = wiretest.Plain(h.Stream(fromClient))
	}
	for _, portion := range h.Portions {
		i := 1
		if portion.FromClient {
			i = 0
		}
		received := portion.FromClient == (role == tls.Server)
		b := portion.Data[:min(len(portion.Data), max(0, plain[i]-at[i]))]
		at[i] += len(b)
		for len(b) > 0 {
			n := min(len(b), size)
			p.Data(received, b[:n])
			b = b[n:]
		}
		if at[i] == plain[i] {
			p.End(received)
		}
	}
	p.Finish()
}

// compare returns an error if the parser's result differs from the one of crypto/tls.
func compare(p *tls.Parser, role tls.Role, state gotls.ConnectionState) error {
	switch {
	case p.Invalid():
		return errors.New("invalid")
	case p.Role != role:
		return fmt.Errorf("role %d, want %d", p.Role, role)
	case p.Version != state.Version:
		return fmt.Errorf("version %#x, want %#x", p.Version, state.Version)
	case p.Suite != state.CipherSuite:
		return fmt.Errorf("suite %#x, want %#x", p.Suite, state.CipherSuite)
	case (p.Resumed == tls.Yes) != state.DidResume:
		return fmt.Errorf("resumed %d, want %v", p.Resumed, state.DidResume)
	case p.Group != uint16(state.CurveID) && !(state.DidResume && state.Version < gotls.VersionTLS13):
		return fmt.Errorf("group %#x, want %#x", p.Group, state.CurveID)
	}
	return nil
}

func TestParserReadsHandshakesOfGo(t *testing.T) {
	p256 := wiretest.Certificate(t, elliptic.P256())
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	rsa2048 := wiretest.Sign(t, rsaKey, x509.SHA384WithRSA)
	ed := wiretest.Certificate(t, ed25519.PrivateKey{})
	cached := &gotls.Config{ClientSessionCache: gotls.NewLRUClientSessionCache(4), ServerName: "secret.example"}
	cached12 := &gotls.Config{ClientSessionCache: gotls.NewLRUClientSessionCache(4), ServerName: "secret.example", MaxVersion: gotls.VersionTLS12}
	cases := map[string]struct {
		client, server *gotls.Config
		certificate    gotls.Certificate
		rounds         int
		check          func(*tls.Parser) bool
		result         tls.Result
	}{
		"TLS 1.3": {result: tls.Inferred, certificate: p256, check: func(p *tls.Parser) bool {
			return len(p.OfferedGroups()) > 3 && tls.GroupName(p.OfferedGroups()[0]) == "X25519MLKEM768" && p.Resumed == tls.No
		}},
		"TLS 1.3 with X25519": {client: &gotls.Config{CurvePreferences: []gotls.CurveID{gotls.X25519}}, certificate: p256, result: tls.Inferred, check: func(p *tls.Parser) bool {
			return len(p.OfferedGroups()) == 1 && tls.GroupName(p.Group) == "x25519"
		}},
		"TLS 1.3 with P-521":   {client: &gotls.Config{CurvePreferences: []gotls.CurveID{gotls.CurveP521}}, certificate: rsa2048, result: tls.Inferred},
		"TLS 1.3 with a retry": {server: &gotls.Config{CurvePreferences: []gotls.CurveID{gotls.CurveP384}}, certificate: p256, result: tls.Inferred, check: func(p *tls.Parser) bool { return p.HelloRetryGroup == 24 }},
		"TLS 1.3 resumed":      {client: cached, certificate: p256, rounds: 2, result: tls.Inferred, check: func(p *tls.Parser) bool { return p.Resumed == tls.Yes && !p.ExternalPSK }},
		"TLS 1.3 with a client certificate": {
			client: &gotls.Config{Certificates: []gotls.Certificate{p256}}, server: &gotls.Config{ClientAuth: gotls.RequireAnyClientCert}, certificate: p256, result: tls.Unknown,
		},
		"TLS 1.2": {client: &gotls.Config{MaxVersion: gotls.VersionTLS12}, certificate: p256, result: tls.Completed, check: func(p *tls.Parser) bool {
			return p.ServerSignature == 0x0403 && p.ServerCertificate == tls.Certificate{Algorithm: "EC/ECDSA", Curve: "SECP256R1", Hash: "SHA256"}
		}},
		"TLS 1.2 with RSA": {client: &gotls.Config{MaxVersion: gotls.VersionTLS12}, certificate: rsa2048, result: tls.Completed, check: func(p *tls.Parser) bool {
			return p.ServerSignature == 0x0804 && p.ServerCertificate == tls.Certificate{Algorithm: "RSA", Bits: 2048, Hash: "SHA384"}
		}},
		"TLS 1.2 with Ed25519": {client: &gotls.Config{MaxVersion: gotls.VersionTLS12}, certificate: ed, result: tls.Completed, check: func(p *tls.Parser) bool {
			return p.ServerSignature == 0x0807 && p.ServerCertificate == tls.Certificate{Algorithm: "EdDSA (Ed25519)"}
		}},
		"TLS 1.2 with static RSA": {
			client: &gotls.Config{MaxVersion: gotls.VersionTLS12, CipherSuites: []uint16{gotls.TLS_RSA_WITH_AES_128_GCM_SHA256}},
			server: &gotls.Config{CipherSuites: []uint16{gotls.TLS_RSA_WITH_AES_128_GCM_SHA256}}, certificate: rsa2048, result: tls.Completed,
			check: func(p *tls.Parser) bool {
				return p.Group == 0 && p.ServerSignature == 0 && p.ServerCertificate.Bits == 2048
			},
		},
		"TLS 1.2 resumed": {client: cached12, certificate: p256, rounds: 2, result: tls.Completed, check: func(p *tls.Parser) bool {
			return p.Resumed == tls.Yes && p.Group == 0 && p.ServerCertificate == tls.Certificate{}
		}},
		"TLS 1.2 with a client certificate": {
			client: &gotls.Config{Certificates: []gotls.Certificate{rsa2048}, MaxVersion: gotls.VersionTLS12}, server: &gotls.Config{ClientAuth: gotls.RequireAnyClientCert},
			certificate: p256, result: tls.Completed, check: func(p *tls.Parser) bool {
				return p.ClientCertificate.Bits == 2048 && p.ServerCertificate.Curve == "SECP256R1" && p.ClientSignature == 0x0804 && p.ServerSignature == 0x0403
			},
		},
		"TLS 1.0": {
			client: &gotls.Config{MinVersion: gotls.VersionTLS10, MaxVersion: gotls.VersionTLS10}, server: &gotls.Config{MinVersion: gotls.VersionTLS10},
			certificate: rsa2048, result: tls.Completed, check: func(p *tls.Parser) bool { return p.ServerSignature == 0 && p.Group != 0 },
		},
		"TLS 1.1": {
			client: &gotls.Config{MinVersion: gotls.VersionTLS10, MaxVersion: gotls.VersionTLS11}, server: &gotls.Config{MinVersion: gotls.VersionTLS10},
			certificate: p256, result: tls.Completed,
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			client, server := &gotls.Config{}, &gotls.Config{}
			if c.client != nil {
				client = c.client.Clone()
			}
			if c.server != nil {
				server = c.server.Clone()
			}
			client.InsecureSkipVerify = true
			server.Certificates = []gotls.Certificate{c.certificate}
			var h wiretest.Handshake
			for range max(1, c.rounds) {
				if h = wiretest.TLS(t, client, server); h.ClientError != nil || h.ServerError != nil {
					t.Fatalf("client: %v, server: %v", h.ClientError, h.ServerError)
				}
			}
			var p tls.Parser
			for _, role := range []tls.Role{tls.Client, tls.Server} {
				state := h.Client
				if role == tls.Server {
					state = h.Server
				}
				for _, size := range []int{1 << 20, 1, 2, 3, 5, 7, 100} {
					p.Reset()
					feed(&p, &h, role, size)
					if err := compare(&p, role, state); err != nil {
						t.Errorf("role %d, portions of %d bytes: %v", role, size, err)
					}
					if !p.Done() {
						t.Errorf("role %d, portions of %d bytes: not done", role, size)
					}
					if p.Result != c.result {
						t.Errorf("role %d, portions of %d bytes: result %d, want %d", role, size, p.Result, c.result)
					}
					if c.check != nil && !c.check(&p) {
						t.Errorf("role %d, portions of %d bytes: %+v", role, size, p.Handshake)
					}
				}
			}
		})
	}
}

func TestParserReadsRefusals(t *testing.T) {
	certificate := wiretest.Certificate(t, elliptic.P256())
	for name, c := range map[string]struct {
		client, server *gotls.Config
		alert          uint8 // 0: encrypted
	}{
		"no common version": {client: &gotls.Config{MaxVersion: gotls.VersionTLS12}, server: &gotls.Config{MinVersion: gotls.VersionTLS13}, alert: 70},
		"no common group": {
			client: &gotls.Config{CurvePreferences: []gotls.CurveID{gotls.X25519}}, server: &gotls.Config{CurvePreferences: []gotls.CurveID{gotls.CurveP384}}, alert: 40,
		},
		"TLS 1.2 client refuses the certificate": {client: &gotls.Config{MaxVersion: gotls.VersionTLS12, ServerName: "secret.example"}, server: &gotls.Config{}, alert: 42},
		"TLS 1.3 client refuses the certificate": {client: &gotls.Config{ServerName: "secret.example"}, server: &gotls.Config{}},
	} {
		t.Run(name, func(t *testing.T) {
			c.server.Certificates = []gotls.Certificate{certificate}
			if c.client.ServerName == "" {
				c.client.InsecureSkipVerify = true
			}
			h := wiretest.TLS(t, c.client, c.server)
			if h.ClientError == nil {
				t.Fatal("the handshake succeeded")
			}
			for _, role := range []tls.Role{tls.Client, tls.Server} {
				var p tls.Parser
				feed(&p, &h, role, 9)
				if p.Result != tls.Failed || p.HasAlert != (c.alert != 0) || p.Alert != c.alert {
					t.Errorf("role %d: result %d, alert %v %d", role, p.Result, p.HasAlert, p.Alert)
				}
			}
		})
	}
}

func TestCertificatesAreReadLikeByTheLibrary(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 3072)
	if err != nil {
		t.Fatal(err)
	}
	for algorithm, hash := range map[x509.SignatureAlgorithm]string{
		x509.SHA256WithRSA: "SHA256", x509.SHA384WithRSA: "SHA384", x509.SHA512WithRSA: "SHA512", x509.SHA256WithRSAPSS: "SHA256", x509.SHA512WithRSAPSS: "SHA512",
	} {
		checkCertificate(t, wiretest.Sign(t, rsaKey, algorithm), tls.Certificate{Algorithm: "RSA", Bits: 3072, Hash: hash})
	}
	for name, curve := range map[string]elliptic.Curve{"SECP224R1": elliptic.P224(), "SECP256R1": elliptic.P256(), "SECP384R1": elliptic.P384(), "SECP521R1": elliptic.P521()} {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		checkCertificate(t, wiretest.Sign(t, key, x509.ECDSAWithSHA512), tls.Certificate{Algorithm: "EC/ECDSA", Curve: name, Hash: "SHA512"})
	}
}

func checkCertificate(t *testing.T, c gotls.Certificate, want tls.Certificate) {
	t.Helper()
	if got := walkMessage(c.Certificate[0]); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// walkMessage reads a certificate in a complete handshake message: the certificate
// parser is not exported.
func walkMessage(der []byte) tls.Certificate {
	hello := append([]byte{3, 3}, make([]byte, 32)...)
	var p tls.Parser
	p.Message(false, message(1, append(append([]byte{}, hello...), 0, 0, 2, 0, 0x2f, 1, 0)))
	p.Message(true, message(2, append(append([]byte{}, hello...), 0, 0, 0x2f, 0)))
	p.Message(true, message(11, append(append(length24(len(der)+3), length24(len(der))...), der...)))
	return p.ServerCertificate
}

func message(kind byte, body []byte) []byte {
	return append(append([]byte{kind}, length24(len(body))...), body...)
}

func length24(n int) []byte { return []byte{byte(n >> 16), byte(n >> 8), byte(n)} }
