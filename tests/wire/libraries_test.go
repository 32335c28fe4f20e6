// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// compiled builds a program of the directory programs with libraries.
func (c *tools) compiled(t *testing.T, name string, libraries ...string) string {
	t.Helper()
	need(t, "cc")
	to := filepath.Join(c.directory, "wt-"+name)
	printed, err := exec.Command("cc", append([]string{"-Wall", "-o", to, "programs/" + name + ".c"}, libraries...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: run make setup\n%s", err, printed)
	}
	return to
}

// suite returns the registered name for a library's name of a suite.
func suite(name string) string {
	switch name {
	case "TLS13-AES128-GCM-SHA256", "TLS13_AES_128_GCM_SHA256":
		return "TLS_AES_128_GCM_SHA256"
	case "TLS13_AES_256_GCM_SHA384":
		return "TLS_AES_256_GCM_SHA384"
	}
	return strings.ReplaceAll(name, "-", "_")
}

// ofLibrary is ofWords for the names that libraries use.
func ofLibrary(t *testing.T, text string) values {
	t.Helper()
	v := ofWords(t, text)
	if v["tls::ciphersuite"] = suite(v["tls::ciphersuite"]); !strings.HasPrefix(v["tls::ciphersuite"], "TLS") {
		v["tls::ciphersuite"] = standardName(t, strings.ReplaceAll(v["tls::ciphersuite"], "_", "-"))
	}
	return v
}

// bothEnds returns pairs of a program that can be either end: client PORT, or server PORT
// CERTIFICATE KEY.
func (p peer) bothEnds(name string, command, ofServer, ofClient []string) map[string]func(t *testing.T) pair {
	file := filepath.Base(command[0])
	server := func(t *testing.T, port string) *buffer {
		t.Helper()
		return start(t, append(append(command[:len(command):len(command)], "server", port, p.rsa, p.rsaKey), ofServer...)...)
	}
	client := func(t *testing.T, port string) values {
		t.Helper()
		return ofLibrary(t, output(t, "", append(append(command[:len(command):len(command)], "client", port), ofClient...)...))
	}
	return map[string]func(t *testing.T) pair{
		name:                func(*testing.T) pair { return pair{server, client, file, file, nil} },
		name + " to others": func(*testing.T) pair { return p.toServer(file, client) },
		"others to " + name: func(*testing.T) pair { return p.fromClient(file, server) },
	}
}

func TestHandshakesOfOtherLibrariesAreRecorded(t *testing.T) {
	a := startAgent(t)
	c := &tools{t.TempDir()}
	o := opensslPeer(t, c)
	t.Run("both ends", func(t *testing.T) {
		compare(t, a, o.bothEnds("mbedTLS", []string{c.compiled(t, "mbedtls", "-lmbedtls", "-lmbedx509", "-lmbedcrypto")}, nil, nil))
		compare(t, a, o.bothEnds("wolfSSL", []string{c.compiled(t, "wolfssl", "-lwolfssl")}, nil, nil))
	})
	t.Run("NSS", func(t *testing.T) {
		compare(t, a, o.nss(t, c))
	})
}

// nss returns pairs with NSS.
func (p peer) nss(t *testing.T, c *tools) map[string]func(t *testing.T) pair {
	t.Helper()
	need(t, "certutil", "pk12util")
	tstclnt, selfserv := c.copied(t, "tstclnt"), c.copied(t, "selfserv")
	database, container := "sql:"+t.TempDir(), filepath.Join(t.TempDir(), "rsa.p12")
	output(t, "", "certutil", "-N", "-d", database, "--empty-password")
	output(t, "", "openssl", "pkcs12", "-export", "-in", p.rsa, "-inkey", p.rsaKey, "-out", container, "-name", "server", "-passout", "pass:x")
	output(t, "", "pk12util", "-d", database, "-i", container, "-W", "x")
	client := func(versions, groups string) func(t *testing.T, port string) values {
		return func(t *testing.T, port string) values {
			out := start(t, tstclnt, "-h", "127.0.0.1", "-p", port, "-a", "secret-host.example", "-D", "-o", "-v", "-V", versions, "-I", groups)
			// It prints no more about its suite.
			pattern := regexp.MustCompile(`SSL version 3\.(\d) using 128-bit AES-GCM`)
			waitFor(t, "tstclnt is connected", func() bool { return pattern.MatchString(out.String()) }, out.String)
			m := find(t, pattern.String(), out.String())
			v := values{"tls::group": map[string]string{"P384": "secp384r1", "x25519": "x25519"}[groups], "tls::result": "inferred"}
			v["tls::protocol_version"] = map[string]string{"3": "TLS 1.2", "4": "TLS 1.3"}[m[0]]
			v["tls::ciphersuite"] = "TLS_AES_128_GCM_SHA256"
			if m[0] == "3" {
				v["tls::ciphersuite"], v["tls::result"] = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "completed"
			}
			return v
		}
	}
	server := func(t *testing.T, port string) *buffer {
		return start(t, selfserv, "-d", database, "-n", "server", "-p", port)
	}
	return map[string]func(t *testing.T) pair{
		"NSS": func(*testing.T) pair {
			return pair{server, client("tls1.3:", "P384"), "wt-selfserv", "wt-tstclnt", nil}
		},
		"NSS to others": func(*testing.T) pair { return p.toServer("wt-tstclnt", client("tls1.3:", "x25519")) },
		"NSS to others, TLS 1.2": func(*testing.T) pair {
			return p.toServer("wt-tstclnt", client("tls1.2:tls1.2", "x25519"))
		},
		"others to NSS": func(*testing.T) pair { return p.fromClient("wt-selfserv", server) },
	}
}

// Erlang writes the header and the contents of a record separately.
func TestHandshakesOfErlangAreRecorded(t *testing.T) {
	large(t, "escript")
	a := startAgent(t)
	o := opensslPeer(t, &tools{t.TempDir()})
	for name, c := range o.bothEnds("Erlang", []string{"escript", "programs/erlang.escript"}, nil, nil) {
		compare(t, a, map[string]func(t *testing.T) pair{name: func(t *testing.T) pair {
			p := c(t)
			for _, file := range []*string{&p.serverName, &p.clientName} {
				if *file == "escript" {
					*file = "beam.smp"
				}
			}
			return p
		}})
	}
}

// cargo builds a program in Rust of the directory programs, which takes long.
func (c *tools) cargo(t *testing.T, name string) string {
	t.Helper()
	file := name + "-pair"
	if *programs != "" {
		built := filepath.Join(*programs, file)
		large(t, built)
		return built
	}
	large(t, "cargo")
	build := exec.Command("cargo", "build", "--quiet", "--locked", "--manifest-path", "programs/"+name+"/Cargo.toml", "--target-dir", c.directory+"/"+name)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return filepath.Join(c.directory, name, "debug", file)
}

// The messages of its handshakes may be split into many small records, several of which one
// call may send.
func TestHandshakesOfRustlsAreRecorded(t *testing.T) {
	c := &tools{t.TempDir()}
	built := c.cargo(t, "rustls")
	a := startAgent(t)
	o := opensslPeer(t, c)
	for _, size := range []string{"", "100", "64"} {
		var fragment []string
		if size != "" {
			fragment = []string{size}
		}
		t.Run(fmt.Sprintf("records of %q bytes", size), func(t *testing.T) {
			compare(t, a, o.bothEnds("rustls", []string{built}, fragment, fragment))
		})
	}
}

// Its ClientHello has made-up extensions and a very large key share.
func TestHandshakesOfChromiumAreRecorded(t *testing.T) {
	large(t, "chromium-headless-shell")
	a := startAgent(t)
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The browser prints this page.
		fmt.Fprintf(w, "version=%d suite=%d group=%d", r.TLS.Version, r.TLS.CipherSuite, r.TLS.CurveID)
	}))
	defer server.Close()
	page := output(t, "", "chromium-headless-shell", "--no-sandbox", "--ignore-certificate-errors", "--user-data-dir="+t.TempDir(), "--dump-dom", server.URL)
	v := find(t, `version=(\d+) suite=(\d+) group=(\d+)`, page)
	want := []string{"tls::protocol_version=" + v[0], "tls::ciphersuite=" + v[1], "tls::group=" + v[2], "tls::result=inferred"}
	a.recorded(t, "chromium-headles*", append(want, "tls::role=client")...)
	a.recorded(t, filepath.Base(os.Args[0]), append(want, "tls::role=server")...)
}
