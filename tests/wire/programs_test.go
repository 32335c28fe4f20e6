// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// tools copies programs of the distribution under unique names: the agent also records
// other programs of the machine.
type tools struct{ directory string }

// copied returns a copy of a program.
func (c *tools) copied(t *testing.T, name string) string {
	t.Helper()
	need(t, name)
	to := filepath.Join(c.directory, "wt-"+name)
	if _, err := os.Stat(to); err == nil {
		return to
	}
	path := strings.TrimSpace(output(t, "", "sh", "-c", "command -v "+name))
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, data, 0o755); err != nil {
		t.Fatal(err)
	}
	return to
}

// certificate makes a key and a certificate and returns their files.
func certificate(t *testing.T, directory, kind string) (certificate, key string) {
	t.Helper()
	certificate, key = filepath.Join(directory, kind+".crt"), filepath.Join(directory, kind+".key")
	arguments := []string{"-newkey", "rsa:2048"}
	if kind == "ec" {
		arguments = []string{"-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"}
	}
	out := output(t, "", append(append([]string{"openssl", "req", "-x509", "-nodes"}, arguments...), "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=secret-host.example")...)
	if _, err := os.Stat(certificate); err != nil {
		t.Fatal(out)
	}
	return certificate, key
}

// standardName returns the registered name of one of OpenSSL's suites.
func standardName(t *testing.T, suite string) string {
	t.Helper()
	for line := range strings.Lines(output(t, "", "openssl", "ciphers", "-stdname", "ALL:@SECLEVEL=0")) {
		if fields := strings.Fields(line); len(fields) > 2 && fields[2] == suite {
			return fields[0]
		}
	}
	t.Fatalf("suite %q is not known", suite)
	return ""
}

// group returns the registered name for a program's name of a group.
func group(name string) string {
	registered, ok := map[string]string{
		"X25519": "x25519", "ECDH, prime256v1": "secp256r1", "ECDH, secp384r1": "secp384r1", "ECDH, secp521r1": "secp521r1", "SECP256R1": "secp256r1", "ECDHE-SECP256R1": "secp256r1",
		"ECDHE-X25519": "x25519", "ECDHE-SECP384R1": "secp384r1", "prime256v1": "secp256r1", "P-384": "secp384r1",
	}[name]
	if !ok {
		return name
	}
	return registered
}

// version returns the registered name for a program's name of a version.
func version(name string) string {
	if v, ok := map[string]string{"tlsv1.3": "TLS 1.3", "TLSv1_3": "TLS 1.3", "TLSv1_2": "TLS 1.2", "TLSv1": "TLS 1.0", "TLSv1.1": "TLS 1.1", "TLSv1.2": "TLS 1.2", "TLSv1.3": "TLS 1.3", "DTLSv1": "DTLS 1.0", "DTLSv1.2": "DTLS 1.2", "DTLSv1.3": "DTLS 1.3"}[name]; ok {
		return v
	}
	return name
}

// find returns the submatches of a pattern in the output of a program.
func find(t *testing.T, pattern, text string) []string {
	t.Helper()
	m := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("the output has no %s:\n%s", pattern, text)
	}
	return m[1:]
}

// values are the values that a program reports about its handshake, by their names in the registry.
type values map[string]string

func (v values) matches(role string) []string {
	m := []string{"tls::role=" + role}
	for key, value := range v {
		m = append(m, key+"="+value)
	}
	return m
}

// ofOpenSSL parses the output of s_client.
func ofOpenSSL(t *testing.T, text string) values {
	t.Helper()
	m := find(t, `(?m)^(New|Reused), (?:TLSv1\.\d|SSLv3), Cipher is (\S+)`, text)
	v := values{"tls::protocol_version": version(find(t, `(?m)^\s*Protocol\s*: (\S+)|^(?:New|Reused), (TLSv1\.3),`, text)[0]), "tls::ciphersuite": m[1], "tls::resumed": "no"}
	if v["tls::protocol_version"] == "" {
		v["tls::protocol_version"] = "TLS 1.3"
	}
	if m[0] == "Reused" {
		v["tls::resumed"] = "yes"
	}
	if !strings.HasPrefix(m[1], "TLS_") {
		v["tls::ciphersuite"] = standardName(t, m[1])
	}
	if g := regexp.MustCompile(`(?m)^(?:Server Temp Key|Peer Temp Key): (.*), \d+ bits`).FindStringSubmatch(text); g != nil && m[0] == "New" && !strings.HasPrefix(g[1], "DH") {
		v["tls::group"] = group(g[1])
	}
	return v
}

const (
	quit = "sleep 0.3; echo Q"
	// pythonClient and nodeClient print version, suite and group.
	pythonClient = `
import socket, ssl, sys
c = ssl.create_default_context(); c.check_hostname = False; c.verify_mode = ssl.CERT_NONE
s = c.wrap_socket(socket.create_connection(("127.0.0.1", int(sys.argv[1]))), server_hostname="secret-host.example")
print(s.version(), s.cipher()[0]); s.close()`
	nodeClient = `
const s = require("tls").connect({port: +process.argv[1], host: "127.0.0.1", rejectUnauthorized: false, servername: "secret-host.example"}, () => {
	console.log(s.getProtocol(), s.getCipher().standardName, s.getEphemeralKeyInfo().name); s.end() })`
	javaClient = `
import javax.net.ssl.*; import java.security.cert.X509Certificate;
public class Client { public static void main(String[] a) throws Exception {
	SSLContext c = SSLContext.getInstance("TLS");
	c.init(null, new TrustManager[]{new X509TrustManager() {
		public void checkClientTrusted(X509Certificate[] x, String s) {} public void checkServerTrusted(X509Certificate[] x, String s) {}
		public X509Certificate[] getAcceptedIssuers() { return new X509Certificate[0]; } }}, null);
	SSLSocket s = (SSLSocket) c.getSocketFactory().createSocket("127.0.0.1", Integer.parseInt(a[0]));
	s.startHandshake();
	System.out.println(s.getSession().getProtocol() + " " + s.getSession().getCipherSuite()); s.close(); } }`
)

// pair is a server, and a client that reports what was negotiated.
type pair struct {
	server func(t *testing.T, port string) *buffer
	client func(t *testing.T, port string) values
	// The names of the executables, and other values that are recorded; empty: not compared.
	serverName, clientName string
	more                   values
}

// compare runs pairs and compares the recorded operations with what their clients report.
func compare(t *testing.T, a *agent, pairs map[string]func(t *testing.T) pair) {
	t.Helper()
	compareAt(t, a, listening, pairs)
}

// compareAt is compare with a function that waits until a server is ready.
func compareAt(t *testing.T, a *agent, serving func(t *testing.T, port string, output *buffer), pairs map[string]func(t *testing.T) pair) {
	t.Helper()
	for name, c := range pairs {
		t.Run(name, func(t *testing.T) {
			c := c(t)
			port := freePort(t)
			serving(t, port, c.server(t, port))
			want := c.client(t, port)
			for key, value := range c.more {
				want[key] = value
				if value == "" {
					delete(want, key)
				}
			}
			if *byFunctions {
				// A library knows what a socket can only infer.
				delete(want, "tls::result")
			}
			a.recorded(t, c.clientName, want.matches("client")...)
			a.recorded(t, c.serverName, want.matches("server")...)
		})
	}
}

// simple returns a client with the port as last argument, which prints version, suite and
// perhaps group.
func simple(command ...string) func(t *testing.T, port string) values {
	return func(t *testing.T, port string) values {
		t.Helper()
		return ofWords(t, output(t, "", append(command, port)...))
	}
}

// ofWords parses version, suite and perhaps group.
func ofWords(t *testing.T, text string) values {
	t.Helper()
	m := strings.Fields(text)
	if len(m) < 2 || !strings.HasPrefix(strings.TrimPrefix(strings.ToLower(m[0]), "d"), "tls") {
		t.Fatalf("a client printed %q", text)
	}
	v := values{"tls::protocol_version": version(m[0]), "tls::ciphersuite": m[1]}
	if len(m) > 2 {
		v["tls::group"] = group(m[2])
	}
	return v
}

// peer is OpenSSL on the other end.
type peer struct{ program, rsa, rsaKey, ec, ecKey string }

func opensslPeer(t *testing.T, c *tools) peer {
	t.Helper()
	p := peer{program: c.copied(t, "openssl")}
	p.rsa, p.rsaKey = certificate(t, c.directory, "rsa")
	p.ec, p.ecKey = certificate(t, c.directory, "ec")
	return p
}

// serve starts a server.
func (p peer) serve(t *testing.T, port string, more ...string) *buffer {
	t.Helper()
	return start(t, append([]string{p.program, "s_server", "-accept", port, "-quiet", "-cert", p.rsa, "-key", p.rsaKey, "-dcert", p.ec, "-dkey", p.ecKey}, more...)...)
}

// connect runs a client and returns its output.
func (p peer) connect(t *testing.T, port string, more ...string) values {
	t.Helper()
	return ofOpenSSL(t, output(t, "", "sh", "-c", fmt.Sprintf("(%s) | %s s_client -connect 127.0.0.1:%s -servername secret-host.example %s", quit, p.program, port, strings.Join(more, " "))))
}

// toServer pairs another client with OpenSSL's server, fromClient another server with
// OpenSSL's client.
func (p peer) toServer(name string, run func(t *testing.T, port string) values, options ...string) pair {
	return pair{func(t *testing.T, port string) *buffer {
		t.Helper()
		return p.serve(t, port, append([]string{"-www"}, options...)...)
	}, run, "wt-openssl", name, nil}
}

func (p peer) fromClient(name string, run func(t *testing.T, port string) *buffer, options ...string) pair {
	return pair{run, func(t *testing.T, port string) values {
		t.Helper()
		return p.connect(t, port, options...)
	}, name, "wt-openssl", nil}
}

func TestHandshakesOfTLSProgramsAreRecorded(t *testing.T) {
	need(t, "openssl")
	a := startAgent(t)
	c := &tools{t.TempDir()}
	o := opensslPeer(t, c)
	javaDirectory := filepath.Join(c.directory, "Client.java")
	if err := os.WriteFile(javaDirectory, []byte(javaClient), 0o644); err != nil {
		t.Fatal(err)
	}
	compare(t, a, map[string]func(t *testing.T) pair{
		"OpenSSL": func(*testing.T) pair { return o.ofOpenSSL(values{"tls::result": "inferred"}, nil, nil) },
		"OpenSSL, another group": func(*testing.T) pair {
			return o.ofOpenSSL(values{"tls::hello_retry_group": "secp384r1"}, []string{"-groups", "P-384"}, []string{"-groups", "X25519:P-384"})
		},
		"OpenSSL, a client certificate": func(*testing.T) pair {
			return o.ofOpenSSL(values{"tls::result": "unknown"}, []string{"-Verify", "1"}, []string{"-cert", o.ec, "-key", o.ecKey})
		},
		"OpenSSL, an external key": func(*testing.T) pair {
			return o.ofOpenSSL(values{"tls::psk": "yes", "tls::resumed": ""}, []string{"-psk", "1a2b3c4d", "-ciphersuites", "TLS_AES_128_GCM_SHA256"}, []string{"-psk", "1a2b3c4d"})
		},
		"OpenSSL, TLS 1.2": func(*testing.T) pair {
			return o.ofOpenSSL(values{"tls::result": "completed"}, nil, []string{"-tls1_2"})
		},
		"OpenSSL, TLS 1.2 with DHE": func(*testing.T) pair {
			return o.ofOpenSSL(values{"tls::result": "completed", "pk::bits": "2048"}, nil, []string{"-tls1_2", "-cipher", "DHE-RSA-AES128-GCM-SHA256"})
		},
		"OpenSSL, TLS 1.2 with static RSA": func(*testing.T) pair {
			return o.ofOpenSSL(values{"tls::result": "completed"}, nil, []string{"-tls1_2", "-cipher", "AES128-GCM-SHA256"})
		},
		"OpenSSL, TLS 1.0": func(*testing.T) pair {
			return o.ofOpenSSL(nil, []string{"-cipher", "DEFAULT:@SECLEVEL=0"}, []string{"-tls1", "-cipher", "DEFAULT:@SECLEVEL=0"})
		},
		"GnuTLS": func(t *testing.T) pair {
			cli, serv := c.copied(t, "gnutls-cli"), c.copied(t, "gnutls-serv")
			return pair{
				func(t *testing.T, port string) *buffer {
					return start(t, serv, "-q", "--echo", "-a", "-p", port, "--x509certfile", o.rsa, "--x509keyfile", o.rsaKey)
				},
				func(t *testing.T, port string) values {
					out := output(t, "", cli, "--insecure", "-p", port, "127.0.0.1")
					m := find(t, `Description: \(TLS(1\.\d)-X\.509\)-\(([^)]*)\)`, out)
					return values{"tls::protocol_version": "TLS " + m[0], "tls::group": group(m[1]), "tls::result": "inferred"}
				}, "wt-gnutls-serv", "wt-gnutls-cli", nil,
			}
		},
		"curl": func(t *testing.T) pair {
			curl := c.copied(t, "curl")
			return o.toServer("wt-curl", func(t *testing.T, port string) values {
				m := find(t, `SSL connection using (\S+) / (\S+)`, output(t, "", curl, "-svk", "--max-time", "30", "-o", "/dev/null", "https://127.0.0.1:"+port+"/"))
				return values{"tls::protocol_version": version(m[0]), "tls::ciphersuite": m[1], "tls::result": "inferred"}
			})
		},
		"Python": func(t *testing.T) pair {
			need(t, "python3")
			return o.toServer("python3*", simple("/usr/bin/python3", "-c", pythonClient))
		},
		"Node": func(t *testing.T) pair {
			optional(t, "node")
			return o.toServer("node", simple("node", "-e", nodeClient))
		},
		"Java": func(t *testing.T) pair {
			optional(t, "java", "javac")
			return o.toServer("java", simple("java", javaDirectory))
		},
		"stunnel": func(t *testing.T) pair {
			stunnel := c.copied(t, "stunnel")
			return pair{
				func(t *testing.T, port string) *buffer {
					file := filepath.Join(t.TempDir(), "stunnel.conf")
					text := fmt.Sprintf("foreground = yes\npid =\n[s]\naccept = 127.0.0.1:%s\nexec = /bin/cat\ncert = %s\nkey = %s\n", port, o.rsa, o.rsaKey)
					if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
						t.Fatal(err)
					}
					return start(t, stunnel, file)
				},
				func(t *testing.T, port string) values { return o.connect(t, port) }, "wt-stunnel", "wt-openssl", nil,
			}
		},
		"nginx": func(t *testing.T) pair {
			nginx := c.copied(t, "nginx")
			return pair{
				func(t *testing.T, port string) *buffer {
					directory := t.TempDir()
					file := filepath.Join(directory, "nginx.conf")
					text := fmt.Sprintf("daemon off; master_process off; pid %[1]s/pid; error_log stderr; events {} http { access_log off; server { listen 127.0.0.1:%[2]s ssl; ssl_certificate %[3]s; ssl_certificate_key %[4]s; } }", directory, port, o.rsa, o.rsaKey)
					if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
						t.Fatal(err)
					}
					return start(t, nginx, "-c", file, "-p", directory)
				},
				func(t *testing.T, port string) values { return o.connect(t, port) }, "wt-nginx", "wt-openssl", nil,
			}
		},
		"Redis": func(t *testing.T) pair {
			redis := c.copied(t, "redis-server")
			return pair{
				func(t *testing.T, port string) *buffer {
					return start(t, redis, "--port", "0", "--tls-port", port, "--bind", "127.0.0.1", "--tls-cert-file", o.rsa, "--tls-key-file", o.rsaKey, "--tls-ca-cert-file", o.rsa, "--tls-auth-clients", "no", "--save", "")
				},
				func(t *testing.T, port string) values { return o.connect(t, port) }, "wt-redis-server", "wt-openssl", nil,
			}
		},
	})
	if everything := output(t, "", "sh", "-c", "zstdcat "+a.log+"/*.zst"); strings.Contains(everything, "secret-host") || strings.Contains(a.stderr.String(), "secret-host") {
		t.Error("the name of the server is in the log or the journal")
	}
}
