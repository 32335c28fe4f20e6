// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// description matches the line in which the programs of GnuTLS describe a session:
// "(TLS1.3-X.509)-(ECDHE-SECP256R1)-(ECDSA-SECP256R1-SHA256)-(AES-256-GCM)".
var description = regexp.MustCompile(`(?m)^- Description: \((TLS1\.[23])[^)]*\)-(.*)-\(([A-Z0-9-]+)\)$`)

// gnutlsSessions returns the sessions that a program of GnuTLS reports, in the form that
// sides returns.
func gnutlsSessions(t *testing.T, role, report string) (all []string) {
	t.Helper()
	groups := map[string]int{
		"SECP256R1": 23, "SECP384R1": 24, "SECP521R1": 25, "X25519": 29, "X448": 30, "FFDHE2048": 256, "FFDHE3072": 257,
	}
	schemes := map[string]int{
		"ECDSA-SECP256R1-SHA256": 0x403, "ECDSA-SECP384R1-SHA384": 0x503, "RSA-PSS-RSAE-SHA256": 0x804, "EdDSA-Ed25519": 0x807,
		"ECDSA-SHA256": 0x403, "RSA-SHA256": 0x401,
	}
	suites := map[string]int{
		"AES-256-GCM": 0x1302, "AES-128-GCM": 0x1301, "CHACHA20-POLY1305": 0x1303,
		"ECDHE ECDSA AES-256-GCM": 0xc02c, "ECDHE RSA AES-256-GCM": 0xc030, "RSA  AES-256-GCM": 0x9d,
		// A resumption; the server has an RSA key.
		"ECDHE  AES-256-GCM": 0xc030,
	}
	number := func(of map[string]int, name string) int {
		n, ok := of[name]
		if name != "" && !ok {
			t.Fatalf("%q is not known: %s", name, report)
		}
		return n
	}
	lines := description.FindAllStringSubmatchIndex(report, -1)
	for i, at := range lines {
		end := len(report)
		if i+1 < len(lines) {
			end = lines[i+1][0]
		}
		version, exchange, cipher := report[at[2]:at[3]], report[at[4]:at[5]], report[at[6]:at[7]]
		first, signature, _ := strings.Cut(strings.Trim(exchange, "()"), ")-(")
		kind, group, _ := strings.Cut(first, "-")
		// The server reports a resumption before the session, the client after it.
		notes := report[at[1]:end]
		if role == "server" {
			notes = report[:at[0]]
			if i > 0 {
				notes = report[lines[i-1][1]:at[0]]
			}
		}
		resumed := 0
		if strings.Contains(notes, "*** This is a resumed session") {
			resumed = 1
		}
		if version == "TLS1.2" {
			signer, _, _ := strings.Cut(signature, "-")
			g, own, peer := number(groups, group), 0, number(schemes, signature)
			if resumed != 0 {
				g = 0 // the session's group is reported, but a resumption exchanges no keys
			}
			if role == "server" {
				own, peer = peer, own
			}
			all = append(all, fmt.Sprintf("%s completed 0x303 %#x group %d own %#x peer %#x resumed %d", role, number(suites, kind+" "+signer+" "+cipher), g, own, peer, resumed))
			continue
		}
		signed := func(by string) int {
			m := regexp.MustCompile(`(?m)^- ` + by + ` Signature: (.*)$`).FindStringSubmatch(report[at[0]:end])
			if m == nil {
				return 0
			}
			return number(schemes, m[1])
		}
		own, peer := signed("Client"), signed("Server")
		if role == "server" {
			own, peer = peer, own
		}
		// The key exchange of a resumption has no name; its group is the default of both programs.
		g := number(groups, group)
		if exchange == "" {
			g = 23
		}
		all = append(all, fmt.Sprintf("%s completed 0x304 %#x group %d own %#x peer %#x resumed %d", role, number(suites, cipher), g, own, peer, resumed))
	}
	return all
}

// covers reports whether a recorded side is the reported one. Values that only the socket
// shows may be unknown: resumption, and in TLS 1.2 also the group and the schemes.
func covers(recorded, reported string) bool {
	got, want := strings.Fields(recorded), strings.Fields(reported)
	if len(got) != len(want) {
		return false
	}
	for i := range got {
		// ROLE completed VERSION SUITE group N own N peer N resumed N
		unknown := (got[i] == "0" || got[i] == "0x0") && (i == 11 || i > 4 && got[2] == "0x303")
		if got[i] != want[i] && !unknown {
			return false
		}
	}
	return true
}

// allCovered reports whether each reported side is recorded once.
func allCovered(recorded, reported []string) bool {
	remaining := slices.Clone(recorded)
	for _, side := range reported {
		i := slices.Index(remaining, side)
		if i < 0 {
			i = slices.IndexFunc(remaining, func(got string) bool { return covers(got, side) })
		}
		if i < 0 {
			return false
		}
		remaining = slices.Delete(remaining, i, i+1)
	}
	return len(remaining) == 0
}

// Each side is recorded once, with the values that the program reports. Values that only the
// socket shows are added if they certainly belong to the handshake, which may be unclear if a
// process makes several.
func TestHandshakesOfGnuTLSAreRecordedByItsFunctions(t *testing.T) {
	need(t, "gnutls-cli", "gnutls-serv")
	a := startAgent(t, "function")
	k := &keys{t.TempDir()}
	program := func(name string) string { return strings.TrimSpace(output(t, "", "sh", "-c", "command -v "+name)) }
	cli, serv := program("gnutls-cli"), program("gnutls-serv")
	clientCertificate, clientKey := k.pair(t, "rsa")
	const tls12 = "NORMAL:-VERS-ALL:+VERS-TLS1.2"
	n := 0
	for name, c := range map[string]struct {
		kind, client, server string
		options, accept      []string
		// failed: neither side completes. once: the client reports its only handshake twice.
		// twice: the server reports two handshakes once.
		failed, once, twice bool
	}{
		"TLS 1.3, ECDSA":                  {kind: "ec"},
		"TLS 1.3, RSA":                    {kind: "rsa", client: "NORMAL:-GROUP-ALL:+GROUP-X25519:-CIPHER-ALL:+CHACHA20-POLY1305"},
		"TLS 1.3, ECDSA with P-384":       {kind: "p384", client: "NORMAL:-GROUP-ALL:+GROUP-SECP521R1"},
		"TLS 1.3, Ed25519":                {kind: "ed25519", client: "NORMAL:-GROUP-ALL:+GROUP-X448"},
		"TLS 1.3, finite field":           {kind: "ec", client: "NORMAL:-GROUP-ALL:+GROUP-FFDHE3072"},
		"TLS 1.3, retry":                  {kind: "ec", server: "NORMAL:-GROUP-ALL:+GROUP-SECP384R1"},
		"TLS 1.3, resumed":                {kind: "ec", options: []string{"--resume", "--waitresumption"}},
		"TLS 1.3, client certificate":     {kind: "ec", options: []string{"--x509certfile", clientCertificate, "--x509keyfile", clientKey}, accept: []string{"--require-client-cert", "--x509cafile", clientCertificate}},
		"TLS 1.3, change of keys":         {kind: "ec", options: []string{"--rehandshake"}, once: true},
		"TLS 1.2, ECDSA":                  {kind: "ec", client: tls12},
		"TLS 1.2, RSA":                    {kind: "rsa", client: tls12},
		"TLS 1.2, static RSA":             {kind: "rsa", client: tls12 + ":-KX-ALL:+RSA"},
		"TLS 1.2, resumed":                {kind: "rsa", client: tls12, options: []string{"--resume"}},
		"TLS 1.2, renegotiation":          {kind: "ec", client: tls12, options: []string{"--rehandshake"}, twice: true},
		"certificate that is not trusted": {kind: "ec", options: []string{"--x509cafile", clientCertificate}, failed: true},
		"no common version":               {kind: "ec", client: tls12, server: "NORMAL:-VERS-ALL:+VERS-TLS1.3", failed: true},
	} {
		n++
		executable := fmt.Sprintf("wt-gt%d", n)
		t.Run(name, func(t *testing.T) {
			certificate, key := k.pair(t, c.kind)
			priority := func(p string) string {
				if p == "" {
					return "NORMAL"
				}
				return p
			}
			port := freePort(t)
			server := start(t, append([]string{renamed(t, serv, executable), "--echo", "--port", port, "--x509certfile", certificate, "--x509keyfile", key, "--priority", priority(c.server)}, c.accept...)...)
			listening(t, port, server)
			options := c.options
			if !slices.Contains(options, "--x509cafile") {
				options = append([]string{"--x509cafile", certificate}, options...)
			}
			report := output(t, "", append([]string{renamed(t, cli, executable), "--verbose", "--verify-hostname", "secret-host.example", "--port", port, "--priority", priority(c.client), "127.0.0.1"}, options...)...)
			want := gnutlsSessions(t, "client", report)
			if c.once && len(want) == 2 {
				want = want[:1]
			}
			if c.failed {
				want = append(want, "client failed", "server failed")
			}
			waitFor(t, "the server reports the sessions", func() bool {
				servers := len(gnutlsSessions(t, "server", server.String()))
				return c.failed || servers >= len(want) || c.twice && servers > 0
			}, func() string { return server.String() + report })
			servers := gnutlsSessions(t, "server", server.String())
			if c.twice && len(servers) == 1 {
				servers = append(servers, servers...)
			}
			want = append(want, servers...)
			if len(want) < 2 {
				t.Fatal(report)
			}
			slices.Sort(want)
			var got []string
			waitFor(t, "the handshakes are recorded", func() bool {
				got = a.sides(t, executable)
				return len(got) >= len(want) && (len(want) > 2 || slices.Equal(got, want))
			}, func() string {
				return fmt.Sprintf("got\n%s\nwant\n%s\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"), a.stderr)
			})
			if !allCovered(got, want) {
				t.Errorf("recorded\n%s\nreported\n%s\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"), report)
			}
		})
	}
	if log := a.stderr.String(); strings.Contains(log, "not recorded any more") || strings.Contains(log, "level=ERROR") {
		t.Error(log)
	}
}

// Each operation that the command was asked for is recorded once.
func TestPublicKeyOperationsOfCerttoolAreRecordedByItsFunctions(t *testing.T) {
	need(t, "certtool")
	a := startAgent(t, "function")
	directory := t.TempDir()
	k := &keys{directory}
	certtool := strings.TrimSpace(output(t, "", "sh", "-c", "command -v certtool"))
	file := func(name string) string { return filepath.Join(directory, name) }
	template := file("template")
	if err := os.WriteFile(template, []byte("cn = secret-host.example\nca\nexpiration_days = 2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	certificate, rsa := k.pair(t, "rsa")
	_, ec := k.pair(t, "p384")
	_, ed25519 := k.pair(t, "ed25519")
	make := func(key, hash, to string) []string {
		return []string{"--generate-self-signed", "--load-privkey", key, "--hash", hash, "--template", template, "--outfile", file(to)}
	}
	check := func(from string) []string {
		return []string{"--verify", "--load-ca-certificate", file(from), "--infile", file(from), "--verify-allow-broken"}
	}
	const rsaSHA1, p384SHA512 = "algorithm=RSA bits=2048 hash=SHA1", "algorithm=EC/ECDSA bits=384 curve=SECP384R1 hash=SHA512"
	n := 0
	for _, c := range []struct {
		arguments []string
		want      []string
	}{
		{[]string{"--generate-privkey", "--key-type", "rsa", "--bits", "3072", "--outfile", file("new")}, []string{"pk::generate algorithm=RSA bits=3072"}},
		{[]string{"--generate-privkey", "--key-type", "ecdsa", "--curve", "secp256r1", "--outfile", file("new")}, []string{"pk::generate algorithm=EC/ECDSA bits=256 curve=SECP256R1"}},
		{[]string{"--generate-privkey", "--key-type", "ed25519", "--outfile", file("new")}, []string{"pk::generate algorithm=EdDSA (Ed25519)"}},
		{make(rsa, "SHA1", "sha1"), []string{"pk::sign " + rsaSHA1}},
		{check("sha1"), []string{"pk::verify " + rsaSHA1}},
		{make(ec, "SHA512", "sha512"), []string{"pk::sign " + p384SHA512}},
		{check("sha512"), []string{"pk::verify " + p384SHA512}},
		{make(ed25519, "SHA512", "ed25519"), []string{"pk::sign algorithm=EdDSA (Ed25519)"}},
		// It prints the request, and verifies its signature.
		{[]string{"--generate-request", "--load-privkey", rsa, "--hash", "SHA384", "--template", template, "--outfile", file("request")}, []string{"pk::sign algorithm=RSA bits=2048 hash=SHA384", "pk::verify algorithm=RSA bits=2048 hash=SHA384"}},
		{[]string{"--p7-sign", "--load-privkey", rsa, "--load-certificate", certificate, "--hash", "SHA256", "--infile", template, "--outfile", file("signed")}, []string{"pk::sign algorithm=RSA bits=2048 hash=SHA256"}},
		{[]string{"--certificate-info", "--infile", certificate}, nil},
	} {
		n++
		name := fmt.Sprintf("wt-ct%d", n)
		t.Run(strings.Join(c.arguments[:3], " "), func(t *testing.T) {
			// The last operation shows that no other follows.
			program := renamed(t, certtool, name)
			out := output(t, "", append([]string{program}, c.arguments...)...)
			output(t, "", program, "--generate-privkey", "--key-type", "ed448", "--outfile", file("end"))
			a.waitForAll(t, name, append(slices.Clone(c.want), "pk::generate algorithm=EdDSA (Ed448)"))
			if t.Failed() {
				t.Log(out)
			}
		})
	}
	if log := a.stderr.String(); strings.Contains(log, "not recorded any more") {
		t.Error(log)
	}
}

// Each operation is recorded once, as the library names it.
func TestKeysOfGnuTLSAreRecordedAsTheLibraryNamesThem(t *testing.T) {
	a := startAgent(t, "function")
	program := renamed(t, build(t, "session_keys", "-lgnutls"), "wt-keys")
	algorithms := map[string]string{"RSA": "RSA", "RSA-PSS": "RSA-PSS", "EC/ECDSA": "EC/ECDSA", "DSA": "DSA", "EdDSA (Ed25519)": "EdDSA (Ed25519)", "EdDSA (Ed448)": "EdDSA (Ed448)"}
	var want []string
	for line := range strings.Lines(output(t, "", program)) {
		f := strings.Split(strings.TrimSpace(line), "\t")
		if len(f) != 5 || algorithms[f[1]] == "" {
			t.Fatalf("the program reports %q", line)
		}
		text := "pk::" + f[0] + " algorithm=" + algorithms[f[1]]
		if f[3] == "SECP521R1" {
			f[2] = "521" // the library counts whole bytes
		}
		// The size of other keys is not read.
		if strings.HasPrefix(f[1], "RSA") || f[1] == "EC/ECDSA" || f[1] == "DSA" && f[0] == "generate" {
			text += " bits=" + f[2]
		}
		if f[3] != "-" {
			text += " curve=" + f[3]
		}
		if f[4] != "-" && !strings.HasPrefix(f[1], "EdDSA") {
			text += " hash=" + f[4]
		}
		want = append(want, text)
	}
	if len(want) < 100 {
		t.Fatalf("the program reports %d operations", len(want))
	}
	a.waitForAll(t, "wt-keys", want)
	if log := a.stderr.String(); strings.Contains(log, "not recorded any more") {
		t.Error(log)
	}
}

// keyOperations returns the operations with keys below an operation, each with the name of its
// parent.
func keyOperations(o *operation, parent string) (all []string) {
	for i := range o.Spans {
		s := &o.Spans[i]
		if name, _ := s.Events["name"].(string); strings.HasPrefix(name, "pk::") {
			all = append(all, parent+" "+s.flat())
		} else {
			all = append(all, keyOperations(s, name)...)
		}
	}
	slices.Sort(all)
	return all
}

// An operation with a key in a handshake is recorded once, in the context that it belongs to.
func TestKeysOfGnuTLSBelongToTheirHandshakes(t *testing.T) {
	need(t, "gnutls-cli", "gnutls-serv")
	a := startAgent(t, "function")
	directory := t.TempDir()
	k := &keys{directory}
	program := func(name string) string { return strings.TrimSpace(output(t, "", "sh", "-c", "command -v "+name)) }
	file := func(name string) string { return filepath.Join(directory, name) }
	authority, authorityKey := k.pair(t, "rsa")
	own, ownKey := k.pair(t, "p384")
	output(t, "", "openssl", "req", "-new", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-keyout", file("leaf.key"), "-subj", "/CN=secret-host.example", "-out", file("leaf.csr"))
	output(t, "", "openssl", "x509", "-req", "-sha512", "-in", file("leaf.csr"), "-CA", authority, "-CAkey", authorityKey, "-set_serial", "7", "-days", "2", "-out", file("leaf.crt"))
	const p256, p384 = " algorithm=EC/ECDSA bits=256 curve=SECP256R1", " algorithm=EC/ECDSA bits=384 curve=SECP384R1"
	const exchange = "tls::key_exchange pk::"
	client := []string{
		exchange + "generate" + p256, exchange + "derive" + p256,
		"tls::verify_cert_chain pk::verify algorithm=RSA bits=2048 hash=SHA512",
	}
	server := client[:2:2]
	for name, c := range map[string]struct {
		priority       string
		client, server []string
	}{
		"TLS 1.3": {"NORMAL", []string{exchange + "generate algorithm=ECDH (X25519)", "tls::verify pk::verify" + p256 + " hash=SHA256", "tls::sign pk::sign" + p384 + " hash=SHA384"},
			[]string{"tls::sign pk::sign" + p256 + " hash=SHA256", "tls::verify pk::verify" + p384 + " hash=SHA384"}},
		// In TLS 1.2 the functions do not show which scheme was used.
		"TLS 1.2": {"NORMAL:-VERS-ALL:+VERS-TLS1.2", []string{"tls::handshake pk::verify" + p256 + " hash=SHA256", "tls::handshake pk::sign" + p384 + " hash=SHA256"},
			[]string{"tls::handshake pk::sign" + p256 + " hash=SHA256", "tls::handshake pk::verify" + p384 + " hash=SHA256"}},
	} {
		t.Run(name, func(t *testing.T) {
			clientName, serverName := "wt-kc-"+name[4:], "wt-ks-"+name[4:]
			port := freePort(t)
			serving := start(t, renamed(t, program("gnutls-serv"), serverName), "--echo", "--port", port, "--x509certfile", file("leaf.crt"), "--x509keyfile", file("leaf.key"), "--require-client-cert")
			listening(t, port, serving)
			report := output(t, "", renamed(t, program("gnutls-cli"), clientName), "--x509cafile", authority, "--x509certfile", own, "--x509keyfile", ownKey,
				"--verify-hostname", "secret-host.example", "--port", port, "--priority", c.priority, "127.0.0.1")
			for executable, want := range map[string][]string{clientName: append(slices.Clone(client), c.client...), serverName: append(slices.Clone(server), c.server...)} {
				slices.Sort(want)
				var got, outside []string
				waitFor(t, "the handshake of "+executable+" is recorded", func() bool {
					got, outside = nil, nil
					for _, o := range a.query(t, executable) {
						if o.Events["name"] == "tls::handshake" && o.Events["tls::result"] == "completed" {
							got = append(got, keyOperations(&o, "tls::handshake")...)
						} else if o.Events["crau::source"] == "function" && o.Events["name"] != "tls::handshake" {
							outside = append(outside, o.flat())
						}
					}
					return len(got) >= len(want)
				}, func() string { return fmt.Sprintf("got %q, want %q\n%s\n%s", got, want, report, a.stderr) })
				// The library checks that the server's key belongs to its certificate.
				var loaded []string
				if executable == serverName {
					loaded = []string{"pk::sign" + p256 + " hash=SHA256", "pk::verify" + p256 + " hash=SHA256"}
				}
				slices.Sort(outside)
				if !slices.Equal(got, want) || !slices.Equal(outside, loaded) {
					t.Errorf("the operations of %s are\n%s\nand outside of handshakes %q, want\n%s\nand %q\n%s", executable, strings.Join(got, "\n"), outside, strings.Join(want, "\n"), loaded, report)
				}
			}
		})
	}
}
