// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// dtls is bothEnds over UDP.
func (p peer) dtls(name string, command ...string) map[string]func(t *testing.T) pair {
	file := filepath.Base(command[0])
	server := func(t *testing.T, port string) *buffer {
		t.Helper()
		return start(t, append(command[:len(command):len(command)], "server", port, p.rsa, p.rsaKey)...)
	}
	client := func(t *testing.T, port string) values {
		t.Helper()
		v := ofLibrary(t, output(t, "", append(command[:len(command):len(command)], "client", port)...))
		v["tls::result"] = "completed"
		return v
	}
	return map[string]func(t *testing.T) pair{
		name: func(*testing.T) pair { return pair{server, client, file, file, nil} },
		name + " to OpenSSL": func(*testing.T) pair {
			return pair{func(t *testing.T, port string) *buffer { return p.serve(t, port, "-dtls1_2") }, client, "wt-openssl", file, nil}
		},
		"OpenSSL to " + name: func(*testing.T) pair {
			return pair{server, func(t *testing.T, port string) values { return p.connect(t, port, "-dtls1_2") }, file, "wt-openssl", values{"tls::result": "completed"}}
		},
	}
}

// pion returns a program with the library pion.
func (c *tools) pion(t *testing.T) string {
	t.Helper()
	if *programs != "" {
		return filepath.Join(*programs, "wt-dtls")
	}
	program := filepath.Join(c.directory, "wt-dtls")
	if out, err := exec.Command("go", "-C", "../tools", "build", "-o", program, "./dtls").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

// gnutlsDTLS returns pairs with GnuTLS.
func (p peer) gnutlsDTLS(t *testing.T, c *tools) map[string]func(t *testing.T) pair {
	t.Helper()
	cli, serv := c.copied(t, "gnutls-cli"), c.copied(t, "gnutls-serv")
	server := func(t *testing.T, port string) *buffer {
		return start(t, serv, "--udp", "-q", "--echo", "-a", "-p", port, "--x509certfile", p.rsa, "--x509keyfile", p.rsaKey)
	}
	client := func(t *testing.T, port string) values {
		m := find(t, `Description: \(DTLS(1\.\d)-X\.509\)-\(([^)]*)\)`, output(t, "", cli, "--udp", "--insecure", "-p", port, "127.0.0.1"))
		return values{"tls::protocol_version": "DTLS " + m[0], "tls::group": group(m[1]), "tls::result": "completed"}
	}
	pairs := map[string]func(t *testing.T) pair{
		"GnuTLS to OpenSSL": func(*testing.T) pair {
			return pair{func(t *testing.T, port string) *buffer { return p.serve(t, port, "-dtls1_2") }, client, "wt-openssl", "wt-gnutls-cli", nil}
		},
		"OpenSSL to GnuTLS": func(*testing.T) pair {
			return pair{server, func(t *testing.T, port string) values { return p.connect(t, port, "-dtls1_2") }, "wt-gnutls-serv", "wt-openssl", values{"tls::result": "completed"}}
		},
	}
	if *everything {
		pairs["GnuTLS"] = func(*testing.T) pair { return pair{server, client, "wt-gnutls-serv", "wt-gnutls-cli", nil} }
	}
	return pairs
}

// opensslDTLS returns pairs of OpenSSL with itself. With -listen, a server connects its socket to
// the client that has returned the cookie.
func (p peer) opensslDTLS(t *testing.T) map[string]func(t *testing.T) pair {
	t.Helper()
	completed := func(more values, server, client []string) func(t *testing.T) pair {
		v := values{"tls::result": "completed", "tls::transport": "udp"}
		for key, value := range more {
			v[key] = value
		}
		return func(*testing.T) pair { return p.ofOpenSSL(v, append([]string{"-dtls"}, server...), client) }
	}
	long := filepath.Join(t.TempDir(), "chain.pem")
	chain(t, long, 24<<10)
	chained := func(mtu string) func(t *testing.T) pair {
		return completed(values{"tls::signature_algorithm": "ecdsa_secp256r1_sha256"},
			[]string{"-cert_chain", long, "-dcert_chain", long, "-mtu", mtu}, []string{"-dtls1_2", "-sigalgs", "ECDSA+SHA256", "-mtu", mtu})
	}
	pairs := map[string]func(t *testing.T) pair{
		"OpenSSL": completed(values{"tls::protocol_version": "DTLS 1.2"}, nil, []string{"-dtls"}),
		"OpenSSL, version 1.0": completed(values{"tls::protocol_version": "DTLS 1.0"},
			[]string{"-cipher", "DEFAULT:@SECLEVEL=0"}, []string{"-dtls1", "-cipher", "DEFAULT:@SECLEVEL=0"}),
		"OpenSSL, a chain of 24 kB in large datagrams": chained("9000"),
		"OpenSSL, small datagrams and a client certificate": completed(values{"tls::signature_algorithm": "ecdsa_secp256r1_sha256"},
			[]string{"-listen", "-mtu", "256", "-Verify", "1"}, []string{"-dtls", "-mtu", "256", "-cert", p.ec, "-key", p.ecKey}),
		"OpenSSL, the client refuses": func(*testing.T) pair {
			return pair{
				func(t *testing.T, port string) *buffer { return p.serve(t, port, "-dtls", "-listen") },
				func(t *testing.T, port string) values {
					find(t, `(certificate verify failed)`, output(t, "", p.program, "s_client", "-dtls", "-connect", "127.0.0.1:"+port, "-verify_return_error"))
					return values{"tls::protocol_version": "DTLS 1.2", "tls::result": "failed", "tls::alert": "unknown_ca"}
				}, "wt-openssl", "wt-openssl", nil,
			}
		},
	}
	if *everything {
		pairs["OpenSSL, another group"] = completed(values{"tls::group": "secp384r1"}, nil, []string{"-dtls", "-groups", "P-384"})
		pairs["OpenSSL, DHE"] = completed(values{"pk::bits": "2048"}, nil, []string{"-dtls", "-cipher", "DHE-RSA-AES128-GCM-SHA256"})
		pairs["OpenSSL, a chain of 24 kB"] = chained("1200")
	}
	return pairs
}

// atTracepoints reports whether the agent's front end does not see the sender of datagrams that an
// unconnected socket receives.
func (a *agent) atTracepoints() bool {
	return strings.Contains(a.stderr.String(), "front_end=tracepoint")
}

func TestHandshakesOfDTLSAreRecordedAtBothEnds(t *testing.T) {
	need(t, "openssl", "gnutls-cli", "gnutls-serv")
	a := startAgent(t, "wire-udp")
	c := &tools{t.TempDir()}
	o := opensslPeer(t, c)
	pion := c.pion(t)
	for _, pairs := range []map[string]func(t *testing.T) pair{
		o.opensslDTLS(t), o.gnutlsDTLS(t, c), o.dtls("pion", pion),
		o.dtls("wolfSSL", c.compiled(t, "wolfssl", "-lwolfssl"), "dtls"),
		o.dtls("mbedTLS", c.compiled(t, "mbedtls", "-lmbedtls", "-lmbedx509", "-lmbedcrypto"), "dtls"),
	} {
		compareAt(t, a, bound, pairs)
	}
	t.Run("OpenSSL, resumed", func(t *testing.T) {
		port, session := freePort(t), filepath.Join(t.TempDir(), "session")
		bound(t, port, o.serve(t, port, "-dtls"))
		o.connect(t, port, "-dtls", "-sess_out", session)
		want := o.connect(t, port, "-dtls", "-sess_in", session)
		if want["tls::resumed"] != "yes" {
			t.Fatal(want)
		}
		want["tls::result"], want["tls::transport"] = "completed", "udp"
		a.recorded(t, "wt-openssl", want.matches("client")...)
		// What the server sends shows neither.
		if !a.atTracepoints() {
			a.recorded(t, "wt-openssl", want.matches("server")...)
		}
	})
	// All clients share one socket of the server.
	t.Run("several clients at a time", func(t *testing.T) {
		const clients = 8
		names := map[string]string{"client": "wt-dtls-clients", "server": "wt-dtls-server"}
		for role, name := range names {
			names[role] = filepath.Join(c.directory, name)
			if out, err := exec.Command("cp", pion, names[role]).CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
		}
		port := freePort(t)
		bound(t, port, start(t, names["server"], "server", port, o.rsa, o.rsaKey))
		printed := make([]string, clients)
		var all sync.WaitGroup
		for i := range printed {
			all.Go(func() { printed[i] = output(t, "", names["client"], "client", port) })
		}
		all.Wait()
		for _, text := range printed {
			want := ofWords(t, text)
			want["tls::result"] = "completed"
			for role, name := range names {
				a.recorded(t, filepath.Base(name), want.matches(role)...)
			}
		}
		for _, name := range names {
			all := a.query(t, filepath.Base(name))
			// Losses have no context.
			if all = slices.DeleteFunc(all, func(o operation) bool { return o.Context == "" }); len(all) != clients {
				t.Errorf("%d handshakes of %s are recorded: %+v", len(all), name, all)
			}
		}
	})
	if everything := output(t, "", "sh", "-c", "zstdcat "+a.log+"/*.zst"); strings.Contains(everything, "secret-host") || strings.Contains(a.stderr.String(), "secret-host") {
		t.Error("the name of the server is in the log or the journal")
	}
}

// The client offers a group that the server does not accept. Everything after the ServerHello is
// encrypted.
func TestHandshakesOfDTLS13AreRecordedAtBothEnds(t *testing.T) {
	dimpl := (&tools{t.TempDir()}).cargo(t, "dimpl")
	a := startAgent(t, "wire-udp")
	name := filepath.Base(dimpl)
	compareAt(t, a, bound, map[string]func(t *testing.T) pair{
		"dimpl": func(*testing.T) pair {
			return pair{
				func(t *testing.T, port string) *buffer { return start(t, dimpl, "server", port) },
				func(t *testing.T, port string) values { return ofWords(t, output(t, "", dimpl, "client", port)) },
				name, name, values{"tls::hello_retry_group": "secp384r1", "tls::result": "unknown", "tls::transport": "udp"},
			}
		},
	})
}
