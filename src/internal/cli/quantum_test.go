// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"strings"
	"testing"

	"crypto-auditing/src/internal/event"
)

// quantumLog writes a log with one operation of each program.
func quantumLog(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	w := openStore(t, dir)
	n, last := uint64(100), ""
	add := func(program string, name string, data ...event.Event) {
		n, last = n+1, program
		id := event.ContextID{0xff, byte(n)}
		g := event.Group{Context: id, Start: n * second, End: n * second, Executable: []byte(program), Events: []event.Event{
			{Kind: event.NewContext, Executable: []byte(program)}, text("name", name),
		}}
		g.Events = append(g.Events, data...)
		appendGroups(t, w, g)
	}
	// exchange adds a key exchange inside the previous operation.
	exchange := func(name string, data event.Event) {
		id, parent := event.ContextID{0xfe, byte(n)}, event.ContextID{0xff, byte(n)}
		appendGroups(t, w, event.Group{Context: id, Start: n * second, End: n * second, Executable: []byte(last), Events: []event.Event{
			{Kind: event.NewContext, Parent: parent, Executable: []byte(last)}, text("name", name), data,
		}})
	}
	version, suite := word("tls::protocol_version", 0x304), word("tls::ciphersuite", 0x1302)
	old := word("tls::protocol_version", 0x303)
	add("hybrid", "tls::handshake_client", version, suite)
	exchange("tls::key_exchange", word("tls::group", 0x11ec))
	add("classical", "tls::handshake_client", version, suite)
	exchange("tls::key_exchange", word("tls::group", 29))
	add("rsa-exchange", "tls::handshake_client", old, word("tls::ciphersuite", 0x002f))
	add("no-group", "tls::handshake_client", version, suite)
	add("ssh-hybrid", "ssh::handshake", text("ssh::role", "client"))
	exchange("ssh::key_exchange", text("ssh::kex_algorithm", "mlkem768x25519-sha256"))
	add("signer", "pk::sign", text("pk::algorithm", "RSA"), word("pk::bits", 2048))
	add("lattices", "pk::verify", text("pk::algorithm", "ML-DSA-65"))
	add("other", "vendor::thing", text("vendor::key", "value"))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestPostQuantumIsADerivedMatch(t *testing.T) {
	dir := quantumLog(t)
	for matches, want := range map[string]string{
		"pq=no":                        "classical rsa-exchange signer",
		"pq=yes":                       "hybrid ssh-hybrid lattices",
		"pq=unknown":                   "no-group",
		"pq=no pq=unknown":             "classical rsa-exchange no-group signer",
		"pq!=no":                       "hybrid no-group ssh-hybrid lattices other",
		"pq!=no pq!=yes":               "no-group other",
		"pq=no tls::group=x25519":      "classical",
		"pq=yes tls::group=x25519":     "",
		"pq=no --executable classical": "classical",
	} {
		for _, order := range []string{"", " -r", " -n all"} {
			arguments := append([]string{"query", "-D", dir, "-o", "short", "-q"}, strings.Fields(matches+order)...)
			got := crauctl(t, arguments...)
			var programs []string
			for line := range strings.Lines(got.stdout) {
				if strings.HasPrefix(line, "2026-") {
					name, _, _ := strings.Cut(line[len("2026-07-23 09:50:01 "):], ":")
					programs = append(programs, name)
				}
			}
			if order == " -r" {
				for i, j := 0, len(programs)-1; i < j; i, j = i+1, j-1 {
					programs[i], programs[j] = programs[j], programs[i]
				}
			}
			if got.code != 0 || strings.Join(programs, " ") != want {
				t.Errorf("%s%s: exit code %d, errors %q, programs %q, want %q", matches, order, got.code, got.stderr, programs, want)
			}
		}
	}
	if got := crauctl(t, "query", "-D", dir, "pq=maybe"); got.code != 2 || !strings.Contains(got.stderr, "the values of pq are yes, no, unknown") {
		t.Errorf("exit code %d, errors %q", got.code, got.stderr)
	}
	if got := crauctl(t, "__complete", "query", "pq="); got.code != 0 || !strings.HasPrefix(got.stdout, "pq=yes\npq=no\npq=unknown\n") {
		t.Errorf("completions are %q", got.stdout)
	}
	if got := crauctl(t, "__complete", "query", "p"); !strings.Contains(got.stdout, "pq=\t") {
		t.Errorf("completions are %q", got.stdout)
	}
}
