// SPDX-License-Identifier: Apache-2.0

package answers_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"crypto-auditing/src/internal/inventory/coverage"
	"crypto-auditing/src/internal/inventory/cryptopolicy"
	"crypto-auditing/src/internal/inventory/observed"
	"crypto-auditing/src/internal/inventory/row"
	"crypto-auditing/src/internal/inventoryservice"
	"crypto-auditing/src/internal/inventoryservice/answers"
	"crypto-auditing/src/internal/schema"
)

// policy allows only TLS 1.3.
const policy = `
cipher = AES-256-GCM
group = X25519
hash = SHA2-256 SHA2-384
key_exchange = ECDHE
mac = AEAD
protocol@TLS = TLS1.3
sign = RSA-PSS-RSAE-SHA2-256
min_rsa_size = 2048
`

// onMachine returns the answers of a machine that has a policy and rules of its administrator.
func onMachine(t *testing.T) *answers.Answers {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"share/policies/STRICT.pol":        policy,
		"share/policies/modules/MORE.pmod": "hash = SHA3-256+\n",
		"share/default-config":             "STRICT\n",
		"secret.pol":                       policy,
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	registry, err := schema.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	a := answers.New("1.2", registry)
	a.RulesDirs = []string{filepath.Join(dir, "rules.d")}
	a.Machine = cryptopolicy.Machine{Etc: filepath.Join(dir, "etc"), Share: filepath.Join(dir, "share")}
	a.Now = func() time.Time { return time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC) }
	return a
}

func seen() *observed.Observed {
	from := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	use := func(program, version string) row.Row {
		return row.Row{
			Start: from, Length: 24 * time.Hour, Count: 3, First: from, Last: from.Add(time.Hour),
			Use: row.Use{Executable: program, Operation: row.TLSHandshake, Role: "client", Source: "wire", Parameters: row.Parameters{Version: version}},
		}
	}
	return &observed.Observed{
		Uses:     []row.Row{use("curl", "TLS 1.3"), use("old", "TLS 1.1")},
		Coverage: coverage.Coverage{From: from, To: from.Add(24 * time.Hour)},
	}
}

func TestAPolicyOfTheMachineIsChecked(t *testing.T) {
	a := onMachine(t)
	if names, err := a.Policies(); err != nil || !slices.Equal(names, []string{"STRICT"}) {
		t.Errorf("the policies are %q, %v", names, err)
	}
	for _, name := range []string{"STRICT", "strict:more"} {
		answer, err := a.CheckPolicy(seen(), name)
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(answer)
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			Totals   struct{ Denied uint64 }
			Programs []struct{ Executable, Verdict string }
		}
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatal(err)
		}
		if got.Totals.Denied != 3 || got.Programs[0].Executable != "old" || got.Programs[0].Verdict != "denied" {
			t.Errorf("%s: %s", name, text)
		}
	}
}

func TestClientsCanOnlyNamePoliciesOfTheMachine(t *testing.T) {
	a := onMachine(t)
	secret := filepath.Join(filepath.Dir(a.Machine.Share), "secret")
	for _, name := range []string{
		"", ":", "PAST", "STRICT:", "STRICT:PAST", secret, secret + ".pol", "../../secret", "secret.pol",
		"STRICT:" + secret, "STRICT:../modules/MORE", "/etc/shadow", "STRICT\x00",
	} {
		if answer, err := a.CheckPolicy(seen(), name); !errors.Is(err, inventoryservice.ErrNoPolicy) {
			t.Errorf("%q: %v, %v", name, answer, err)
		}
	}
}

func TestReportsHaveTheRulesOfProfilesAndThePolicyInForce(t *testing.T) {
	a := onMachine(t)
	for title, c := range map[string]struct {
		options inventoryservice.ReportOptions
		want    []string
		without string
	}{
		"default":   {want: []string{`"policy": "STRICT"`, `"ietf.rfc8996"`, `"tool": "crau-inventory 1.2"`, `"executable": "old"`}, without: "bsi."},
		"profile":   {options: inventoryservice.ReportOptions{Profiles: []string{"bsi"}}, want: []string{"bsi."}, without: "ietf.rfc8996"},
		"anonymous": {options: inventoryservice.ReportOptions{Anonymous: true}, want: []string{`"anonymous": true`, "TLS 1.1"}, without: `"old"`},
	} {
		t.Run(title, func(t *testing.T) {
			var text bytes.Buffer
			if err := a.Export(&text, "report-json", seen(), c.options); err != nil {
				t.Fatal(err)
			}
			for _, want := range c.want {
				if !strings.Contains(text.String(), want) {
					t.Errorf("the report has no %s:\n%s", want, text.String())
				}
			}
			if strings.Contains(text.String(), c.without) {
				t.Errorf("the report has %s:\n%s", c.without, text.String())
			}
		})
	}
	var invalid *inventoryservice.InvalidError
	if _, err := a.Report(seen(), inventoryservice.ReportOptions{Profiles: []string{"none"}}); !errors.As(err, &invalid) {
		t.Errorf("an unknown profile: %v", err)
	}
}

func TestEveryFormatIsWritten(t *testing.T) {
	a := onMachine(t)
	begins := map[string]string{
		"cbom-1.6": "{\n  \"$schema\": \"http://cyclonedx.org/schema/bom-1.6", "cbom-1.7": "{\n  \"$schema\": \"http://cyclonedx.org/schema/bom-1.7",
		"report-html": "<!DOCTYPE html>", "report-json": "{", "report-csv": "executable,", "report-junit": "<?xml", "observed-json": `{"observed_version":1`,
	}
	for _, format := range a.Formats() {
		var text bytes.Buffer
		if err := a.Export(&text, format, seen(), inventoryservice.ReportOptions{}); err != nil {
			t.Errorf("%s: %v", format, err)
		}
		if want, ok := begins[format]; !ok || !strings.HasPrefix(text.String(), want) {
			t.Errorf("%s begins %.40q", format, text.String())
		}
		delete(begins, format)
	}
	if len(begins) > 0 {
		t.Errorf("formats that are missing: %v", begins)
	}
	o, err := observed.Read(strings.NewReader(`{"observed_version":2,"observed":{}}`))
	if !errors.Is(err, observed.ErrFormat) {
		t.Errorf("a later version: %v, %v", o, err)
	}
}
