// SPDX-License-Identifier: Apache-2.0

package e2e

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
	"strings"
	"testing"
	"time"
)

// secretName is the server name that clients send. It must not be recorded.
const secretName = "secret-host.example"

// certificate makes a certificate for secretName.
func certificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: secretName}, DNSNames: []string{secretName},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// shakeHands makes a TLS connection from this process to itself and returns the state that
// the client reports.
func shakeHands(t *testing.T, client *tls.Config) tls.ConnectionState {
	t.Helper()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate(t)}})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	served := make(chan error, 1)
	go func() {
		c, err := listener.Accept()
		if err == nil {
			_ = c.SetDeadline(time.Now().Add(patience))
			_, err = c.Write([]byte("hello"))
			c.Close()
		}
		served <- err
	}()
	client.ServerName, client.InsecureSkipVerify = secretName, true
	dialer := &net.Dialer{Timeout: patience}
	c, err := tls.DialWithDialer(dialer, "tcp", listener.Addr().String(), client)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 5)); err != nil {
		t.Error(err)
	}
	state := c.ConnectionState()
	c.Close()
	if err := <-served; err != nil {
		t.Error(err)
	}
	return state
}

// A Go program has no probes and uses no TLS library.
func TestHandshakesOfAProgramWithoutProbesAreRecordedAtItsSockets(t *testing.T) {
	a := startAgent(t, setup{config: `sources = ["wire"]`})
	var want []tls.ConnectionState
	for _, c := range []*tls.Config{
		{CurvePreferences: []tls.CurveID{tls.X25519MLKEM768}},
		{CurvePreferences: []tls.CurveID{tls.CurveP256}, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}, MaxVersion: tls.VersionTLS12},
	} {
		want = append(want, shakeHands(t, c))
	}
	a.terminate(t, patience)

	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	log := readLog(t, a.log)
	groups := map[string]int64{} // by the context that holds them
	for i := range log {
		if g := &log[i]; g.Name == "tls::key_exchange" {
			group, _ := g.value("tls::group").(int64)
			groups[string(g.opens().Parent)] = group
		}
	}
	for _, state := range want {
		roles := map[any]int{}
		for i := range log {
			g := &log[i]
			if g.Name == "tls::handshake" && string(g.Executable) == filepath.Base(self) && g.value("tls::protocol_version") == int64(state.Version) {
				if suite := g.value("tls::ciphersuite"); suite != int64(state.CipherSuite) {
					t.Errorf("the cipher suite is %v, want %d", suite, state.CipherSuite)
				}
				if group := groups[string(g.Context)]; group != int64(state.CurveID) {
					t.Errorf("the group is %d, want %d", group, state.CurveID)
				}
				if g.Source != "wire" || len(g.Origin) > 0 {
					t.Errorf("the source is %q, the origin %x", g.Source, g.Origin)
				}
				roles[g.value("tls::role")]++
			}
		}
		if len(roles) != 2 || roles["client"] != 1 || roles["server"] != 1 {
			t.Errorf("version %#x has the sides %v, want a client and a server", state.Version, roles)
		}
	}
	for _, file := range segments(t, a.log) {
		if bytes.Contains(decompress(t, file), []byte("secret-host")) {
			t.Errorf("the log has the name of the server")
		}
	}
	if result := a.stderr.String(); strings.Contains(result, "secret-host") {
		t.Error("the agent wrote the name of the server")
	}
}
