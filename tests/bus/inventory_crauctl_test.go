// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
)

// The programs and ids of the handshakes are only known in a new log.
func TestCrauctlQueriesTheInventory(t *testing.T) {
	onEveryNewBusWithServices(t, func(t *testing.T, w *world) {
		w.must(t, stranger, publisher, "--count", "2", "--fresh-ids", opt+"/traces/gnutls-tls12.txt")
		w.fire(t, 3)
		w.startInventory(t)
		want := w.handshakes(t)
		waitFor(t, "crauctl to list the handshakes in the log", func() bool {
			got := map[string]int{}
			for line := range strings.Lines(w.must(t, member, "crauctl", "inventory", "-o", "json")) {
				var r struct {
					Executable, Operation string
					Version               string `json:"tls::protocol_version"`
					Count                 int
				}
				if err := json.Unmarshal([]byte(line), &r); err != nil {
					t.Fatal(err)
				}
				if r.Operation == "tls::handshake" {
					got[r.Executable+" "+r.Version] += r.Count
				}
			}
			return maps.Equal(got, want)
		})
		if text := w.must(t, member, "crauctl", "summary", "--by", "executable,version"); !strings.Contains(text, "\nreplay      TLS 1.2") || !strings.Contains(text, "\nreplay      TLS 1.3") {
			t.Errorf("the summary is\n%s", text)
		}
		if text := w.must(t, member, "crauctl", "summary", "--executable", "nobody", "-o", "json"); text != "" {
			t.Errorf("the summary of a missing program is\n%s", text)
		}
		for _, spec := range []string{"1.6", "1.7"} {
			if text := w.must(t, member, "crauctl", "cbom", "--spec", spec); !json.Valid([]byte(text)) || !strings.Contains(text, `"program/replay"`) {
				t.Errorf("the bill of materials is\n%s", text)
			}
		}
		if text := w.must(t, member, "crauctl", "report"); !strings.Contains(text, "replay") {
			t.Errorf("the report is\n%s", text)
		}
		// The service counts the weeks of a program. It supports names, but no patterns.
		weeks := func(selection ...string) string {
			var r struct{ Weeks json.RawMessage }
			if err := json.Unmarshal([]byte(w.must(t, member, slices.Concat([]string{"crauctl", "report", "-o", "json"}, selection)...)), &r); err != nil {
				t.Fatal(err)
			}
			return string(r.Weeks)
		}
		all := weeks()
		for _, selection := range []string{"replay", "re*", "/usr/bin/replay"} {
			if got := weeks("--executable", selection, "--executable", "nobody"); got != all || got == "[]" {
				t.Errorf("the weeks of %s are\n%s\nwant\n%s", selection, got, all)
			}
		}
		for _, selection := range [][]string{{"--executable", "nobody"}, {"--executable", "replay", "--unit", "x.service"}} {
			if got := weeks(selection...); got != "[]" {
				t.Errorf("the weeks of %v are\n%s", selection, got)
			}
		}
		if r := w.as(t, member, "crauctl", "__complete", "report", "--executable", "re"); !strings.HasPrefix(r.stdout, "replay\n") {
			t.Errorf("completions are %q, errors %q", r.stdout, r.stderr)
		}
		if r := w.as(t, stranger, "crauctl", "inventory"); r.code != 3 || r.stdout != "" {
			t.Errorf("a stranger gets exit code %d, output %q, errors %q", r.code, r.stdout, r.stderr)
		}
	})
}
