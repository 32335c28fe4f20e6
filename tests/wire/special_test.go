// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// chain writes certificates with together at least size bytes, as PEM.
func chain(t *testing.T, path string, size int) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var text []byte
	for n := 0; n < size; {
		template := &x509.Certificate{
			SerialNumber: big.NewInt(int64(n + 1)), NotAfter: time.Now().AddDate(1, 0, 0),
			ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 32473, 1}, Value: make([]byte, 2000)}},
		}
		der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
		if err != nil {
			t.Fatal(err)
		}
		n += len(der)
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
}

// The handshakes differ from most: they are large, begin with data, or fail.
func TestUnusualHandshakesAreRecorded(t *testing.T) {
	a := startAgent(t)
	c := &tools{t.TempDir()}
	o := opensslPeer(t, c)
	long := filepath.Join(c.directory, "chain.pem")
	chain(t, long, 24<<10)
	// chained is a server with many certificates.
	chained := func(more values, options ...string) func(t *testing.T) pair {
		return func(*testing.T) pair {
			return pair{
				func(t *testing.T, port string) *buffer {
					return o.serve(t, port, "-cert_chain", long, "-dcert_chain", long)
				},
				func(t *testing.T, port string) values {
					printed := output(t, "", "sh", "-c", fmt.Sprintf("(%s) | %s s_client -connect 127.0.0.1:%s %s", quit, o.program, port, strings.Join(options, " ")))
					find(t, `(SSL handshake has read 2[4-9]\d{3} bytes)`, printed)
					return ofOpenSSL(t, printed)
				}, "wt-openssl", "wt-openssl", more,
			}
		}
	}
	// refuse is a client that does not trust the server; alert is empty if it is not visible.
	refuse := func(result, alert string, version string, options ...string) func(t *testing.T) pair {
		return func(*testing.T) pair {
			return pair{
				func(t *testing.T, port string) *buffer { return o.serve(t, port) },
				func(t *testing.T, port string) values {
					printed := output(t, "", append([]string{o.program, "s_client", "-connect", "127.0.0.1:" + port, "-verify_return_error"}, options...)...)
					find(t, `(certificate verify failed)`, printed)
					v := values{"tls::protocol_version": version, "tls::result": result}
					if alert != "" {
						v["tls::alert"] = alert
					}
					return v
				}, "wt-openssl", "wt-openssl", nil,
			}
		}
	}
	compare(t, a, map[string]func(t *testing.T) pair{
		"a chain of 24 kB, TLS 1.2": chained(values{"tls::result": "completed", "tls::signature_algorithm": "ecdsa_secp256r1_sha256"}, "-tls1_2", "-sigalgs", "ECDSA+SHA256"),
		"a chain of 24 kB, TLS 1.3": chained(values{"tls::result": "inferred"}),
		"data before the handshake is complete": func(t *testing.T) pair {
			session, data := filepath.Join(t.TempDir(), "session"), file(t, "data", "early")
			return pair{
				func(t *testing.T, port string) *buffer {
					return o.serve(t, port, "-early_data", "-max_early_data", "10000")
				},
				func(t *testing.T, port string) values {
					// The session arrives after the handshake. An empty line ends the loop if the client has exited.
					printed := output(t, "", "sh", "-c", fmt.Sprintf("(until [ -s %[1]s ]; do sleep 0.1; echo; done; echo Q) | %[2]s s_client -connect 127.0.0.1:%[3]s -sess_out %[1]s", session, o.program, port))
					find(t, `(New Session Ticket arrived)`, printed)
					printed = output(t, "", "sh", "-c", fmt.Sprintf("(%s) | %s s_client -connect 127.0.0.1:%s -sess_in %s -early_data %s", quit, o.program, port, session, data))
					find(t, `(Early data was accepted)`, printed)
					return ofOpenSSL(t, printed)
				}, "wt-openssl", "wt-openssl", values{"tls::early_data": "yes", "tls::result": "unknown", "tls::resumed": "yes"},
			}
		},
		"the client refuses, TLS 1.2": refuse("failed", "unknown_ca", "TLS 1.2", "-tls1_2"),
		"the client refuses, TLS 1.3": refuse("failed", "", "TLS 1.3"),
	})
}

// ofOpenSSL returns a pair with OpenSSL at both ends, with their options.
func (p peer) ofOpenSSL(more values, serverOptions, clientOptions []string) pair {
	return pair{
		func(t *testing.T, port string) *buffer {
			t.Helper()
			return p.serve(t, port, serverOptions...)
		},
		func(t *testing.T, port string) values {
			t.Helper()
			return p.connect(t, port, clientOptions...)
		}, "wt-openssl", "wt-openssl", more,
	}
}

// echConfig returns a configuration for Encrypted Client Hello, section 4 of RFC 9849.
func echConfig(key *ecdh.PrivateKey, publicName string) []byte {
	prefixed := func(b []byte) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...) }
	contents := []byte{7, 0, 0x20} // config_id, DHKEM(X25519, HKDF-SHA256)
	contents = append(contents, prefixed(key.PublicKey().Bytes())...)
	contents = append(contents, 0, 4, 0, 1, 0, 1) // HKDF-SHA256 with AES-128-GCM
	contents = append(contents, 0, byte(len(publicName)))
	contents = append(append(contents, publicName...), 0, 0)
	return append([]byte{0xfe, 0x0d}, prefixed(contents)...)
}

// Only the outer ClientHello is seen; the values of the ServerHello are the true ones.
func TestAnEncryptedClientHelloHasTheValuesOfTheServer(t *testing.T) {
	a := startAgent(t)
	certificateFile, keyFile := certificate(t, t.TempDir(), "ec")
	pair, err := tls.LoadX509KeyPair(certificateFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	config := echConfig(key, "public.example")
	text, err := os.ReadFile(certificateFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	for name, test := range map[string]struct {
		server, client []tls.CurveID
		more           []string
	}{
		"without a retry": {nil, nil, nil},
		"with a retry":    {[]tls.CurveID{tls.CurveP384}, []tls.CurveID{tls.X25519, tls.CurveP384}, []string{"tls::hello_retry_group=secp384r1"}},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
				Certificates: []tls.Certificate{pair}, CurvePreferences: test.server,
				EncryptedClientHelloKeys: []tls.EncryptedClientHelloKey{{Config: config, PrivateKey: key.Bytes()}},
			})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				c, err := l.Accept()
				if err != nil {
					return
				}
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
			list := append([]byte{0, byte(len(config))}, config...)
			c, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", l.Addr().String(), &tls.Config{
				ServerName: "secret-host.example", EncryptedClientHelloConfigList: list, CurvePreferences: test.client,
				InsecureSkipVerify: true, RootCAs: roots, MinVersion: tls.VersionTLS13,
			})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			state := c.ConnectionState()
			if !state.ECHAccepted {
				t.Fatal("the server did not accept the encrypted ClientHello")
			}
			for _, role := range []string{"client", "server"} {
				a.recorded(t, filepath.Base(os.Args[0]), append([]string{"tls::role=" + role, fmt.Sprintf("tls::protocol_version=%d", state.Version),
					fmt.Sprintf("tls::ciphersuite=%d", state.CipherSuite), fmt.Sprintf("tls::group=%d", state.CurveID)}, test.more...)...)
			}
		})
	}
	if everything := output(t, "", "sh", "-c", "zstdcat "+a.log+"/*.zst"); strings.Contains(everything, "public.example") || strings.Contains(everything, "secret-host") {
		t.Error("a name is in the log")
	}
}

// quic-go receives several datagrams with one call, which the front end at tracepoints does
// not see: there its sockets are counted as lost.
func TestHandshakesOfQUICAreRecordedAtBothEnds(t *testing.T) {
	a := startAgent(t, "wire-udp")
	atTracepoints := a.atTracepoints()
	directory := t.TempDir()
	certificateFile, key := certificate(t, directory, "ec")
	program := filepath.Join(*programs, "wt-quic")
	if *programs == "" {
		program = filepath.Join(directory, "wt-quic")
		// It is in the module of the tests' tools because it needs modules that the project does not.
		if out, err := exec.Command("go", "-C", "../tools", "build", "-o", program, "./quic").CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	for _, ends := range [][2]string{{"net", "net"}, {"go", "go"}, {"net", "go"}, {"go", "net"}} {
		t.Run(ends[0]+" with "+ends[1], func(t *testing.T) {
			// Unique names distinguish the handshakes of the pairs.
			names := map[string]string{"client": "wt-quic-c-" + ends[0] + ends[1], "server": "wt-quic-s-" + ends[0] + ends[1]}
			for _, name := range names {
				if out, err := exec.Command("cp", program, filepath.Join(directory, name)).CombinedOutput(); err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
			}
			server := start(t, filepath.Join(directory, names["server"]), ends[1], "server", certificateFile, key)
			waitFor(t, "the server listens", func() bool { return strings.Contains(server.String(), "\n") }, server.String)
			address, _, _ := strings.Cut(server.String(), "\n")
			printed := output(t, "", filepath.Join(directory, names["client"]), ends[0], "client", address)
			v := find(t, `version=(\d+) suite=(\d+) group=(\d+)`, printed)
			for role, name := range names {
				if library := map[string]string{"client": ends[0], "server": ends[1]}[role]; library == "go" && atTracepoints {
					continue
				}
				a.recorded(t, name, "tls::role="+role, "tls::transport=quic", "tls::protocol_version="+v[0], "tls::ciphersuite="+v[1], "tls::group="+v[2])
			}
		})
	}
	if atTracepoints {
		losses := func() string {
			return output(t, "", filepath.Join(bin, "crauctl"), "query", "--directory", a.log)
		}
		waitFor(t, "the sockets of quic-go are counted", func() bool { return strings.Contains(losses(), "unsupported") }, losses)
	}
}

// The transports differ from TCP over IPv4.
func TestHandshakesOverOtherTransportsAreRecorded(t *testing.T) {
	a := startAgent(t)
	certificateFile, keyFile := certificate(t, t.TempDir(), "ec")
	pair, err := tls.LoadX509KeyPair(certificateFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		address   string
		multipath bool
	}{
		"IPv6":          {"[::1]:0", false},
		"Multipath TCP": {"127.0.0.1:0", true},
	} {
		t.Run(name, func(t *testing.T) {
			var listen net.ListenConfig
			listen.SetMultipathTCP(test.multipath)
			l, err := listen.Listen(t.Context(), "tcp", test.address)
			if err != nil {
				t.Skipf("the machine cannot listen at %s: %v", test.address, err)
			}
			defer l.Close()
			go func() {
				c, err := l.Accept()
				if err != nil {
					return
				}
				defer c.Close()
				s := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{pair}})
				_, _ = io.Copy(s, s)
			}()
			dialer := net.Dialer{Timeout: patience}
			dialer.SetMultipathTCP(test.multipath)
			plain, err := dialer.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer plain.Close()
			if used, err := plain.(*net.TCPConn).MultipathTCP(); test.multipath && (err != nil || !used) {
				t.Skipf("the kernel has no Multipath TCP: %v", err)
			}
			c := tls.Client(plain, &tls.Config{InsecureSkipVerify: true})
			_ = c.SetDeadline(time.Now().Add(patience))
			if err := c.Handshake(); err != nil {
				t.Fatal(err)
			}
			state := c.ConnectionState()
			c.Close()
			for _, role := range []string{"client", "server"} {
				a.recorded(t, filepath.Base(os.Args[0]), "tls::role="+role, fmt.Sprintf("tls::protocol_version=%d", state.Version),
					fmt.Sprintf("tls::ciphersuite=%d", state.CipherSuite), fmt.Sprintf("tls::group=%d", state.CurveID))
			}
		})
	}
}
