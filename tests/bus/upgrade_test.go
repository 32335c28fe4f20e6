// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"crypto-auditing/src/client"
)

// The files of version 0.1.0 are a log of 68 entries in two segments, and a durable
// subscription of root that has received the first 44.
const (
	entries010  = 68
	received010 = 44
)

// install copies files of a directory of tests/data into the world, for a user. names has
// their new names.
func (w *world) install(t *testing.T, from, user, directory string, names map[string]string) {
	t.Helper()
	for name, target := range names {
		text, err := os.ReadFile(filepath.Join("../data", from, name))
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(directory, target)
		if err := os.WriteFile(w.Path(path), text, 0o640); err != nil {
			t.Fatal(err)
		}
		w.must(t, root, "chown", user+":"+user, path)
	}
}

func TestUpgradeFrom010KeepsLogSubscriptionsAndConfiguration(t *testing.T) {
	onEveryNewBus(t, func(t *testing.T, w *world) {
		w.install(t, "log-0.1.0/log", "crypto-auditing", logDir, map[string]string{
			"audit-0000000000000001.cborseq.zst": "audit-0000000000000001.cborseq.zst",
			"audit-000000000000001e.cborseq.zst": "audit-000000000000001e.cborseq.zst",
			"lock":                               ".lock",
		})
		w.install(t, "log-0.1.0/state", brokers, "/var/lib/crypto-auditing", map[string]string{"subscriptions": "subscriptions"})
		if err := os.MkdirAll(w.Path("/etc/crypto-auditing"), 0o755); err != nil {
			t.Fatal(err)
		}
		for file, text := range map[string]string{
			// Version 0.1.0 interpreted the numbers as milliseconds and bytes.
			"agent.conf":  "sync_interval = 1000\nmax_age = 30\nring_size = 1048576\n",
			"broker.conf": "answer_timeout = 5000\n[truncate]\nmax_age = 30\nhold = 1000\n",
		} {
			if err := os.WriteFile(w.Path("/etc/crypto-auditing/"+file), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		w.startAgentOn(t, "/etc/crypto-auditing/agent.conf")
		w.startBroker(t)
		newest := w.fire(t, 2)

		// Neither the agent nor the broker removes anything for max_age = 30.
		w.must(t, root, "crauctl", "vacuum")
		c := w.connect(t)
		var sequences []uint64
		for g, err := range c.Groups(t.Context(), client.Oldest, client.Filter{}) {
			if err != nil {
				t.Fatal(err)
			}
			sequences = append(sequences, g.Sequence)
		}
		if err := contiguous(sequences, 1, sequence(t, newest)); err != nil {
			t.Errorf("the log: %v", err)
		}
		if n := sequence(t, newest); n <= entries010 {
			t.Errorf("the log ends at entry %d", n)
		}
		if got := w.must(t, root, "crauctl", "verify", "--directory", logDir); !strings.Contains(got, "entries 1 to ") {
			t.Errorf("verify printed %q", got)
		}
		shown := w.must(t, root, "crauctl", "query", "-o", "cat")
		for text, n := range map[string]int{"tls::handshake client, TLS 1.2, ": 3, "tls::handshake server, TLS 1.3, TLS_AES_256_GCM_SHA384, x25519": 2} {
			if got := strings.Count(shown, text); got != n {
				t.Errorf("%d lines contain %q, want %d:\n%s", got, text, n, shown)
			}
		}

		// The subscription continues after the last entry that version 0.1.0 sent.
		s, err := c.Attach(t.Context(), "kept")
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		f := follower{t: t, s: s}
		f.until(newest)
		if err := contiguous(f.sequences, received010+1, sequence(t, newest)); err != nil || len(f.skipped) > 0 {
			t.Errorf("the subscription: %v, skipped %v", err, f.skipped)
		}

		for program, warnings := range map[string][]string{
			"crau-agent": {
				`/etc/crypto-auditing/agent.conf:1: sync_interval = 1000 has no unit and is taken for milliseconds: write sync_interval = \"1s\"`,
				`/etc/crypto-auditing/agent.conf:2: max_age = 30 has no unit and is ignored`,
				`/etc/crypto-auditing/agent.conf:3: ring_size = 1048576 has no unit and is taken for bytes: write ring_size = \"1M\"`,
			},
			"crau-broker": {
				`/etc/crypto-auditing/broker.conf:1: answer_timeout = 5000 has no unit and is taken for milliseconds: write answer_timeout = \"5s\"`,
				`/etc/crypto-auditing/broker.conf:3: truncate.max_age = 30 has no unit and is ignored`,
				`/etc/crypto-auditing/broker.conf:4: truncate.hold = 1000 has no unit and is ignored`,
			},
		} {
			r := w.as(t, root, program, "--check")
			if r.code != 0 || strings.Count(r.stderr, "\n") != len(warnings) {
				t.Errorf("%s --check: exit code %d, %q, %q", program, r.code, r.stdout, r.stderr)
			}
			for _, want := range warnings {
				if !strings.Contains(r.stderr, want) || !strings.Contains(r.stderr, "level=WARN") {
					t.Errorf("%s lacks the warning %s in\n%s", program, want, r.stderr)
				}
			}
		}
		if output := w.agent.output.String(); !strings.Contains(output, "max_age = 30 has no unit and is ignored") {
			t.Errorf("the agent does not warn:\n%s", output)
		}
	})
}
