// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"encoding/json"
	"encoding/xml"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"crypto-auditing/src/internal/goldentest"
)

// policies is the directory of the test policies.
const policies = "../inventory/cryptopolicy/testdata"

// logForPolicies returns a log with handshakes, some of which the test policies deny.
func logForPolicies(t *testing.T) string {
	t.Helper()
	return store(t, append(workload(t, "openssl-tls13-x25519", 40), workload(t, "gnutls-tls12", 3)...))
}

func TestAPolicyCheckComparesALogWithAPolicy(t *testing.T) {
	dir := logForPolicies(t)
	got := crauctl(t, "policy", "check", "-D", dir, "--policy-dir", policies, "OLD:NEWER")
	if got.code != 4 || got.stderr != "" {
		t.Errorf("exit code %d, errors %q", got.code, got.stderr)
	}
	for _, line := range strings.Split(got.stdout, "\n") {
		if len([]rune(line)) > 80 {
			t.Errorf("more than 80 columns: %q", line)
		}
	}
	head, results, _ := strings.Cut(got.stdout, "\n\n")
	if !strings.HasPrefix(head, "Policy OLD:NEWER, from ") || !strings.Contains(head, "\nRecorded from 2026-07-23 ") {
		t.Errorf("the output begins with\n%s", head)
	}
	goldentest.Compare(t, "policy/check.golden", results)
}

func TestAPolicyCheckHasFormsForPrograms(t *testing.T) {
	dir := logForPolicies(t)
	check := func(form string) string {
		got := crauctl(t, "policy", "check", "-D", dir, "--policy-dir", policies, "-o", form, "OLD")
		if got.code != 4 || got.stderr != "" {
			t.Fatalf("exit code %d, errors %q", got.code, got.stderr)
		}
		return got.stdout
	}
	var result struct {
		Policy   string
		Totals   map[string]int
		Programs []map[string]any
	}
	if err := json.Unmarshal([]byte(check("json")), &result); err != nil || result.Policy != "OLD" || result.Totals["denied"] == 0 || len(result.Programs) == 0 {
		t.Errorf("error %v, result %+v", err, result)
	}
	var suites struct {
		Failures int `xml:"failures,attr"`
		Suites   []struct {
			Name  string `xml:"name,attr"`
			Tests int    `xml:"tests,attr"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal([]byte(check("junit")), &suites); err != nil || suites.Failures == 0 || len(suites.Suites) != 2 || suites.Suites[1].Name != "crypto policy OLD" {
		t.Errorf("error %v, suites %+v", err, suites)
	}
	lines := strings.Split(strings.TrimSpace(check("csv")), "\n")
	if len(lines) != 1+len(result.Programs) || !strings.HasPrefix(lines[0], "policy,executable,unit,verdict,") {
		t.Errorf("the lines are %q", lines)
	}
}

func TestAPolicyThatAllowsEverythingIsASuccess(t *testing.T) {
	dir := store(t, workload(t, "openssl-tls13-x25519", 40))
	lax := filepath.Join(t.TempDir(), "LAX.pol")
	text := "cipher = *\nmac = *\ngroup = *\nhash = *\nsign = *\nkey_exchange = *\nprotocol = *\n"
	if err := os.WriteFile(lax, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	got := crauctl(t, "policy", "check", "-D", dir, lax)
	if got.code != 0 || got.stderr != "" || strings.Contains(got.stdout, "\nDENIED\n") {
		t.Errorf("exit code %d, errors %q, output\n%s", got.code, got.stderr, got.stdout)
	}
}

func TestMistakesInPoliciesNameTheRemedy(t *testing.T) {
	dir := store(t, workload(t, "openssl-tls13-x25519", 40))
	bad := filepath.Join(t.TempDir(), "BAD.pol")
	if err := os.WriteFile(bad, []byte("# mine\ncipher = AES-256-GMC\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for want, c := range map[string]struct {
		code      int
		arguments []string
	}{
		"BAD.pol:2: unknown value \"AES-256-GMC\" of \"cipher\": did you mean AES-256-GCM?": {1, []string{bad}},
		"there is no policy \"FUTUR\": did you mean FUTURE?":                                {2, []string{"--policy-dir", policies, "FUTUR"}},
		"there is no module \"SHA\": did you mean SHA1?":                                    {2, []string{"--policy-dir", policies, "FUTURE:SHA"}},
		"write modules as FUTURE:SHA1":                                                      {2, []string{"--policy-dir", policies, "FUTURE", "SHA1"}},
		"name the policy to take from --policy-dir":                                         {2, []string{"--policy-dir", policies}},
		"this machine has no system-wide cryptographic policy: name the policy":             {1, nil},
		"unknown output form \"xml\": there are text, json, csv, junit":                     {2, []string{"-o", "xml", bad}},
	} {
		got := crauctl(t, append([]string{"policy", "check", "-D", dir}, c.arguments...)...)
		if got.code != c.code || !strings.Contains(got.stderr, want) || got.stdout != "" {
			t.Errorf("%q: exit code %d, errors %q, want %d with %q", c.arguments, got.code, got.stderr, c.code, want)
		}
	}
}

func TestPoliciesAreListedAndComplete(t *testing.T) {
	got := crauctl(t, "policy", "list", "--policy-dir", policies)
	if got.code != 0 || !strings.Contains(got.stdout, "\nFUTURE ") || !strings.Contains(got.stdout, "module") {
		t.Errorf("exit code %d, errors %q, output\n%s", got.code, got.stderr, got.stdout)
	}
	for begun, want := range map[string][]string{
		"":            {"EVERYTHING", "FUTURE", "OLD", "UNSET", ":6"},
		"F":           {"FUTURE", ":6"},
		"FUTURE:":     {"FUTURE:NEWER", "FUTURE:NO-PQ", "FUTURE:PQ", "FUTURE:SHA1", ":6"},
		"FUTURE:PQ:S": {"FUTURE:PQ:SHA1", ":6"},
	} {
		got := crauctl(t, "__complete", "policy", "check", "--policy-dir", policies, begun)
		if lines := strings.Fields(got.stdout); !slices.Equal(lines, want) {
			t.Errorf("%q completes to %q, want %q", begun, lines, want)
		}
	}
}
