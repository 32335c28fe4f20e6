// SPDX-License-Identifier: Apache-2.0

// Package wiretest generates the bytes of handshakes for tests, by crypto/tls over
// loopback, in the portions in which a socket moves them.
package wiretest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"io"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"
)

// Portion is the data of one write.
type Portion struct {
	// FromClient reports whether the client wrote it.
	FromClient bool
	Data       []byte
}

// recorder records the writes to a connection.
type recorder struct {
	net.Conn
	fromClient bool
	log        *log
}

type log struct {
	mutex    sync.Mutex
	portions []Portion
}

func (r recorder) Write(b []byte) (int, error) {
	r.log.mutex.Lock()
	r.log.portions = append(r.log.portions, Portion{r.fromClient, append([]byte(nil), b...)})
	r.log.mutex.Unlock()
	return r.Conn.Write(b)
}

// Handshake is a recorded handshake and its state at the two ends.
type Handshake struct {
	Portions       []Portion
	Client, Server tls.ConnectionState
	// ClientError and ServerError are the errors of the handshake.
	ClientError, ServerError error
}

// TLS performs a handshake between two configurations over loopback, after which each
// side writes a few bytes of data.
func TLS(t testing.TB, client, server *tls.Config) Handshake {
	t.Helper()
	var l log
	a, b := connection(t)
	limit := time.Now().Add(time.Minute)
	_, _ = a.SetDeadline(limit), b.SetDeadline(limit)
	c, s := tls.Client(recorder{a, true, &l}, client), tls.Server(recorder{b, false, &l}, server)
	var h Handshake
	done := make(chan struct{})
	go func() {
		defer close(done)
		if h.ServerError = s.Handshake(); h.ServerError == nil {
			h.Server = s.ConnectionState()
			_, h.ServerError = io.ReadFull(s, make([]byte, 4))
			_, _ = s.Write([]byte("pong"))
		}
		_ = b.Close()
	}()
	if h.ClientError = c.Handshake(); h.ClientError == nil {
		h.Client = c.ConnectionState()
		_, _ = c.Write([]byte("ping"))
		_, h.ClientError = io.ReadFull(c, make([]byte, 4))
	}
	_ = a.Close()
	<-done
	h.Portions = l.portions
	return h
}

// connection returns both ends of a connection over loopback.
func connection(t testing.TB) (a, b net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if a, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if b, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return a, b
}

// Stream returns all data that one side wrote.
func (h *Handshake) Stream(fromClient bool) []byte {
	var b []byte
	for _, p := range h.Portions {
		if p.FromClient == fromClient {
			b = append(b, p.Data...)
		}
	}
	return b
}

// Plain returns the number of bytes at the beginning of a TLS direction that are copied
// from a socket: up to the header of the first encrypted record.
func Plain(stream []byte) int {
	changed := false
	for at := 0; at+6 <= len(stream); {
		kind, n := stream[at], int(binary.BigEndian.Uint16(stream[at+3:]))
		if kind == 23 || kind == 22 && changed && stream[at+5] != 1 && stream[at+5] != 2 {
			return at + 5
		}
		changed = changed || kind == 20
		at += 5 + n
	}
	return len(stream)
}

// Certificate returns a self-signed certificate for a new key of the given kind: an
// elliptic.Curve, an ed25519.PrivateKey or a number of RSA bits.
func Certificate(t testing.TB, kind any) tls.Certificate {
	t.Helper()
	var key crypto.Signer
	var err error
	switch kind := kind.(type) {
	case elliptic.Curve:
		key, err = ecdsa.GenerateKey(kind, rand.Reader)
	case ed25519.PrivateKey:
		_, key, err = ed25519.GenerateKey(rand.Reader)
	case int:
		key, err = rsa.GenerateKey(rand.Reader, kind)
	}
	if err != nil {
		t.Fatal(err)
	}
	return Sign(t, key, x509.UnknownSignatureAlgorithm)
}

// Sign returns a self-signed certificate for a key.
func Sign(t testing.TB, key crypto.Signer, algorithm x509.SignatureAlgorithm) tls.Certificate {
	t.Helper()
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "secret.example"}, DNSNames: []string{"secret.example"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), SignatureAlgorithm: algorithm,
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
