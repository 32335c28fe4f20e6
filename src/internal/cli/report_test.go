// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestAReportHasVerdictsAboutALog(t *testing.T) {
	dir := store(t, append(workload(t, "openssl-tls13-x25519", 40), workload(t, "gnutls-tls13-p256", 3)...))
	got := crauctl(t, "report", "-D", dir, "-o", "json")
	var r struct {
		Tool     string
		Policy   string
		Programs []struct {
			Verdicts []struct{ Axis, Verdict string }
		}
		Findings []struct{ Rule string }
	}
	if err := json.Unmarshal([]byte(got.stdout), &r); err != nil || got.code != 0 {
		t.Fatalf("exit code %d, errors %q, error %v", got.code, got.stderr, err)
	}
	if !strings.HasPrefix(r.Tool, "crauctl ") || r.Policy != "" || len(r.Programs) == 0 {
		t.Fatalf("made by %q, policy %q, %d programs", r.Tool, r.Policy, len(r.Programs))
	}
	for _, p := range r.Programs {
		if v := p.Verdicts[0]; v.Axis != "key establishment" || v.Verdict != "not ready" {
			t.Errorf("%s of a program is %s, want not ready", v.Axis, v.Verdict)
		}
	}
	if !slices.ContainsFunc(r.Findings, func(f struct{ Rule string }) bool { return f.Rule == "nist.ir8547.ke" }) {
		t.Errorf("findings are %v, want nist.ir8547.ke among them", r.Findings)
	}
	if got := crauctl(t, "report", "-D", dir, "--profile", "ietf", "--exit-code"); got.code != 0 || !strings.HasPrefix(got.stdout, "Cryptography in use, 2026-07-23 ") {
		t.Errorf("exit code %d, errors %q, output\n%s", got.code, got.stderr, got.stdout)
	}
}

func TestScriptsSeeFindingsByTheExitStatus(t *testing.T) {
	dir := store(t, workload(t, "openssl-tls13-x25519", 1))
	directory := t.TempDir()
	file := filepath.Join(directory, "site.toml")
	rule := `
[[rules]]
id = "site.no-x25519"
text = "No X25519."
axis = "key establishment"
level = "prohibited"
applies_to = ["tls::handshake"]
breaks = [{ group = ["x25519"] }]
status = "final"

[profiles.site]
rules = ["site.*"]
`
	const exception = `
[[exceptions]]
rule = "site.*"
accepted_by = "me"
until = 2999-01-01
why = "a test"
`
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	arguments := []string{"report", "-D", dir, "--rules", file, "--profile", "site", "--exit-code", "-o", "json"}
	write(rule)
	broken := crauctl(t, arguments...)
	if broken.code != 4 || broken.stderr != "" {
		t.Errorf("exit code %d, errors %q, want 4", broken.code, broken.stderr)
	}
	baseline := filepath.Join(directory, "baseline.json")
	if err := os.WriteFile(baseline, []byte(broken.stdout), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := crauctl(t, append(arguments, "--baseline", baseline)...); got.code != 0 {
		t.Errorf("with a baseline and nothing new, exit code %d, errors %q, want 0", got.code, got.stderr)
	}
	if got := crauctl(t, append(arguments, "--baseline", baseline, "--stopped", "site.no-x25519")...); got.code != 4 || !strings.Contains(got.stderr, "site.no-x25519: not seen since the baseline, but") {
		t.Errorf("with nothing recorded since: exit code %d, errors %q, want 4", got.code, got.stderr)
	}
	write(rule + exception)
	if got := crauctl(t, arguments...); got.code != 0 || !strings.Contains(got.stdout, `"accepted_by": "me"`) {
		t.Errorf("with an exception, exit code %d, errors %q, want 0", got.code, got.stderr)
	}
	write("[[rules]]\nid = 1\n")
	if got := crauctl(t, arguments...); got.code != 1 || !strings.Contains(got.stderr, "site.toml:2: ") {
		t.Errorf("with a mistake, exit code %d, errors %q", got.code, got.stderr)
	}
}

func TestRulesAreListedByProfile(t *testing.T) {
	got := crauctl(t, "report", "--list-rules", "--profile", "bsi")
	if got.code != 0 || !strings.Contains(got.stdout, "* bsi ") || !strings.Contains(got.stdout, "\nbsi.tr02102-1.ke [S]\n") || !strings.Contains(got.stdout, "\n  [S] not read itself, ") || strings.Contains(got.stdout, "\nietf.") {
		t.Errorf("exit code %d, errors %q, output\n%s", got.code, got.stderr, got.stdout)
	}
}

func TestWrongOptionsOfAReportAreUsageErrors(t *testing.T) {
	dir := store(t, workload(t, "openssl-tls13-x25519", 1))
	for want, arguments := range map[string][]string{
		"unknown profile \"nits\"":   {"--profile", "nits"},
		"unknown output form":        {"-o", "pdf"},
		"--baseline":                 {"--diff"},
		"exclude each other":         {"--anonymous", "--baseline", "x"},
		"only for --anonymous":       {"--with-executables"},
		"is in none of the profiles": {"--baseline", "x", "--stopped", "no.rule"},
		"takes no argument":          {"x"},
		"no form csv":                {"--baseline", "x", "--diff", "-o", "csv"},
	} {
		if got := crauctl(t, append([]string{"report", "-D", dir}, arguments...)...); got.code != 2 || got.stdout != "" || !strings.Contains(got.stderr, want) {
			t.Errorf("%v: exit code %d, output %q, errors %q, want %q", arguments, got.code, got.stdout, got.stderr, want)
		}
	}
	for name, text := range map[string]string{"none.json": "", "text.json": "Cryptography in use"} {
		file := filepath.Join(t.TempDir(), name)
		if text != "" {
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if got := crauctl(t, "report", "-D", dir, "--baseline", file); got.code != 1 || !strings.Contains(got.stderr, "cannot read baseline") {
			t.Errorf("%s: exit code %d, errors %q", name, got.code, got.stderr)
		}
	}
}

func TestProfilesAndRulesComplete(t *testing.T) {
	for line, want := range map[string]string{"--profile": "\ncnsa2\t", "--stopped": "\nietf.rfc8996\t", "--output": "\njunit\t"} {
		if got := crauctl(t, "__complete", "report", line, ""); !strings.Contains("\n"+got.stdout, want) || !strings.Contains(got.stdout, ":4\n") {
			t.Errorf("%s completes to %q, want %q in it", line, got.stdout, want)
		}
	}
}
