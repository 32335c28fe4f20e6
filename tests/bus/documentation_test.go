// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"os"
	"strings"
	"testing"
)

// commands returns the shell commands in a document.
func commands(t *testing.T, path string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for _, part := range strings.Split(string(text), "\n```sh\n")[1:] {
		block, _, ok := strings.Cut(part, "\n```\n")
		if !ok {
			t.Fatalf("%s: a block does not end: %s", path, part)
		}
		blocks = append(blocks, block)
	}
	return blocks
}

func TestEveryDocumentedCommandRuns(t *testing.T) {
	blocks := commands(t, "../../docs/dbus-api.md")
	if len(blocks) < 10 {
		t.Fatalf("found %d commands, want at least 10", len(blocks))
	}
	onEveryBusWithServices(t, func(t *testing.T, w *world) {
		w.must(t, stranger, publisher, "--count", "3", opt+"/traces/gnutls-tls13-p256.txt")
		w.must(t, stranger, publisher, "--count", "3", opt+"/traces/gnutls-tls12.txt")
		w.fire(t, 3)
		for _, block := range blocks {
			if strings.Contains(block, "ReadOperations") && strings.Contains(block, "tls::protocol_version=771") {
				// Operations are complete after some time without events.
				waitFor(t, "the operations", func() bool { return strings.Contains(w.must(t, root, "sh", "-c", block), "tls::protocol_version") })
			}
		}
		for _, user := range []string{root, member} {
			for _, block := range blocks {
				r := w.as(t, user, "sh", "-c", block)
				if user == member && strings.Contains(block, " Truncate ") {
					if r.code == 0 || !strings.Contains(strings.ToLower(r.stderr), "denied") {
						t.Errorf("a member of the group may truncate: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
					}
					continue
				}
				// timeout(1) exits with 124 if it ended the command.
				ok := r.code == 0 || r.code == 124 && strings.HasPrefix(block, "timeout ")
				if !ok || r.stderr != "" {
					t.Errorf("%s runs\n%s\nexit code %d\n%s%s", user, block, r.code, r.stdout, r.stderr)
				}
				silent := strings.Contains(block, " Seek ") || strings.Contains(block, " Close")
				if (strings.TrimSpace(r.stdout) == "") != silent {
					t.Errorf("%s runs\n%s\nwhich prints %q", user, block, r.stdout)
				}
				if strings.Contains(block, "tls::protocol_version=771") && !strings.Contains(r.stdout, "tls::protocol_version") {
					t.Errorf("%s runs\n%s\nwhich does not print the handshakes of TLS 1.2: %s", user, block, r.stdout)
				}
			}
		}
	})
}
