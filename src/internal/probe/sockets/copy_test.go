// SPDX-License-Identifier: Apache-2.0

package sockets_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"crypto-auditing/src/internal/probe/sockets"
)

// tee records the data of a connection, and transfers it in portions.
type tee struct {
	*net.TCPConn
	// portion is the number of bytes per call; 0 means all.
	portion int

	mu    sync.Mutex
	moved [2][]byte
}

func (c *tee) Write(b []byte) (n int, err error) {
	for n < len(b) {
		end := len(b)
		if c.portion > 0 {
			end = min(n+c.portion, end)
		}
		k, err := c.TCPConn.Write(b[n:end])
		c.note(sent, b[n:n+k])
		n += k
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

func (c *tee) Read(b []byte) (int, error) {
	if c.portion > 0 && len(b) > c.portion {
		b = b[:c.portion]
	}
	n, err := c.TCPConn.Read(b)
	c.note(received, b[:max(n, 0)])
	return n, err
}

func (c *tee) note(direction int, b []byte) {
	c.mu.Lock()
	c.moved[direction] = append(c.moved[direction], b...)
	c.mu.Unlock()
}

// certificate makes a certificate of at least the given size.
func certificate(t *testing.T, size int) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour),
		Subject: pkix.Name{CommonName: "secret.example", Organization: []string{string(bytes.Repeat([]byte("x"), size))}},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// connect returns both ends of a connection over loopback.
func connect(t *testing.T) (client, server *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		s.Close()
	})
	return c.(*net.TCPConn), s.(*net.TCPConn)
}

// shake makes a handshake and transfers a byte. It returns the errors of both ends.
func shake(client, server net.Conn, c, s *tls.Config) (clientErr, serverErr error) {
	done := make(chan error)
	go func() {
		end := tls.Server(server, s)
		err := end.Handshake()
		if err == nil {
			_, err = end.Write([]byte("x"))
		} else {
			server.Close()
		}
		done <- err
	}()
	end := tls.Client(client, c)
	clientErr = end.Handshake()
	if clientErr == nil {
		_, clientErr = io.ReadFull(end, make([]byte, 1))
	} else {
		client.Close()
	}
	return clientErr, <-done
}

// expect compares a side with the data of its end. Everything up to the first encrypted
// record must have been copied, except skipped bytes of certificates.
func expect(t *testing.T, s side, c *tee) {
	t.Helper()
	if s.protocol != sockets.TLS || s.invalid || s.cut || s.unit != unit || s.executable != filepath.Base(os.Args[0]) {
		t.Errorf("a side is %s", describe(s))
	}
	for d, name := range []string{"sent", "received"} {
		c.mu.Lock()
		moved := c.moved[d]
		c.mu.Unlock()
		plain := moved[:plaintext(moved)]
		if !s.ended[d] {
			t.Errorf("%s: its end is missing", name)
		}
		if len(s.data[d]) != len(plain) {
			t.Errorf("%s: %d bytes were copied instead of %d of %d", name, len(s.data[d]), len(plain), len(moved))
			continue
		}
		for i := range plain {
			if s.data[d][i] != plain[i] && (s.skipped[d] == 0 || s.data[d][i] != 0) {
				t.Errorf("%s: byte %d of %d is wrong", name, i, len(plain))
				break
			}
		}
	}
}

// plaintext returns the number of bytes of a direction that must be copied: up to and
// including the header of the first encrypted record.
func plaintext(b []byte) (n int) {
	changed := false
	for len(b)-n >= 5 {
		kind, length := b[n], int(b[n+3])<<8|int(b[n+4])
		n += 5
		if kind == 23 || kind == 22 && changed && (b[n] != 1 && b[n] != 2 || b[n+1] != 0) {
			return n
		}
		changed = changed || kind == 20
		n += length
	}
	return min(n, len(b))
}

func TestThePlaintextBeginningIsCopiedByteByByte(t *testing.T) {
	w := watch(t)
	small, large := certificate(t, 10), certificate(t, 12000)
	cache := tls.NewLRUClientSessionCache(1)
	ticket := &tls.Config{Certificates: []tls.Certificate{small}}
	for name, test := range map[string]struct {
		client, server *tls.Config
		portion        int
		skips          bool
	}{
		"TLS 1.3":                      {&tls.Config{}, &tls.Config{Certificates: []tls.Certificate{small}}, 0, false},
		"TLS 1.3, a second hello":      {&tls.Config{CurvePreferences: []tls.CurveID{tls.X25519, tls.CurveP384}}, &tls.Config{Certificates: []tls.Certificate{small}, CurvePreferences: []tls.CurveID{tls.CurveP384}}, 0, false},
		"TLS 1.2":                      {&tls.Config{MaxVersion: tls.VersionTLS12}, &tls.Config{Certificates: []tls.Certificate{small}}, 0, false},
		"TLS 1.2, a long certificate":  {&tls.Config{MaxVersion: tls.VersionTLS12}, &tls.Config{Certificates: []tls.Certificate{large}}, 0, true},
		"TLS 1.2, both certificates":   {&tls.Config{MaxVersion: tls.VersionTLS12, Certificates: []tls.Certificate{large}}, &tls.Config{Certificates: []tls.Certificate{large}, ClientAuth: tls.RequireAnyClientCert}, 0, true},
		"TLS 1.3, calls of 1 byte":     {&tls.Config{CurvePreferences: []tls.CurveID{tls.X25519}}, &tls.Config{Certificates: []tls.Certificate{small}}, 1, false},
		"TLS 1.3, calls of 5 bytes":    {&tls.Config{}, &tls.Config{Certificates: []tls.Certificate{small}}, 5, false},
		"TLS 1.3, calls of 100 bytes":  {&tls.Config{}, &tls.Config{Certificates: []tls.Certificate{small}}, 100, false},
		"TLS 1.2, calls of 7 bytes":    {&tls.Config{MaxVersion: tls.VersionTLS12}, &tls.Config{Certificates: []tls.Certificate{small}}, 7, false},
		"TLS 1.2, calls of 1 kilobyte": {&tls.Config{MaxVersion: tls.VersionTLS12}, &tls.Config{Certificates: []tls.Certificate{large}}, 1000, true},
		"TLS 1.3, resumed":             {&tls.Config{ClientSessionCache: cache, ServerName: "secret.example"}, ticket, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			test.client.InsecureSkipVerify = true
			// The second handshake may depend on state of the first one.
			for range 2 {
				client, server := connect(t)
				c, s := &tee{TCPConn: client, portion: test.portion}, &tee{TCPConn: server, portion: test.portion}
				if clientErr, serverErr := shake(c, s, test.client, test.server); clientErr != nil || serverErr != nil {
					t.Fatalf("the handshake failed: %v, %v", clientErr, serverErr)
				}
				sides := w.await(t, cookie(t, client), cookie(t, server))
				if sides[0].pair != sides[1].pair {
					t.Errorf("the ends have the pairs %x and %x", sides[0].pair, sides[1].pair)
				}
				expect(t, sides[0], c)
				expect(t, sides[1], s)
				if skipped := sides[0].skipped[received] > 0; skipped != test.skips {
					t.Errorf("of the certificate, %d bytes were skipped", sides[0].skipped[received])
				}
			}
		})
	}
}

func TestAFailedHandshakeEndsWithItsConnection(t *testing.T) {
	w := watch(t)
	client, server := connect(t)
	cookies := []uint64{cookie(t, client), cookie(t, server)}
	c := &tee{TCPConn: client}
	clientErr, serverErr := shake(c, server,
		&tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13},
		&tls.Config{Certificates: []tls.Certificate{certificate(t, 10)}, MaxVersion: tls.VersionTLS12})
	if clientErr == nil || serverErr == nil {
		t.Fatalf("the handshake succeeded: %v, %v", clientErr, serverErr)
	}
	for i, s := range w.await(t, cookies...) {
		if s.cut || s.invalid || !s.closed || i == 0 && !bytes.Equal(s.data[received], c.moved[received]) {
			t.Errorf("a side is %s", describe(s))
		}
	}
}

// The end of a connection has a sequence number, and may arrive with the last bytes.
func TestTheLastBytesMayArriveWithTheEnd(t *testing.T) {
	w := watch(t)
	client, server := connect(t)
	cookies := []uint64{cookie(t, client), cookie(t, server)}
	hello := append([]byte{22, 3, 1, 0, 200, 1, 0, 0, 196}, make([]byte, 196)...)
	alert := []byte{21, 3, 3, 0, 2, 2, 70}
	if _, err := client.Write(hello); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(server, make([]byte, len(hello))); err != nil {
		t.Fatal(err)
	}
	// Put the alert and the end into one packet.
	raw, err := server.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if other := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_CORK, 1) }); other != nil || err != nil {
		t.Fatal(other, err)
	}
	if _, err := server.Write(alert); err != nil {
		t.Fatal(err)
	}
	server.Close()
	// Everything has arrived before the first byte is read.
	if err := client.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{5, 2} {
		if _, err := io.ReadFull(client, make([]byte, n)); err != nil {
			t.Fatal(err)
		}
	}
	client.Close()
	for i, s := range w.await(t, cookies...) {
		if s.cut || s.invalid || !s.closed || !bytes.Equal(s.data[1-i], alert) {
			t.Errorf("a side is %s", describe(s))
		}
	}
}
