// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// policies has a policy FUTURE, which requires ciphers with 256 bits and RSA keys with 3072.
const policies = "../../src/internal/inventory/cryptopolicy/testdata"

// One client with TLS 1.2 negotiates what the policy denies, one what it allows, and one both.
func TestAPolicyCheckShowsWhichClientsThePolicyDenies(t *testing.T) {
	c := &tools{t.TempDir()}
	need(t, "openssl", "curl")
	weak, strong, both := c.copied(t, "curl"), filepath.Join(c.directory, "wt-strong"), filepath.Join(c.directory, "wt-both")
	for _, name := range []string{strong, both} {
		if out := output(t, "", "cp", weak, name); out != "" {
			t.Fatal(out)
		}
	}
	server := c.copied(t, "openssl")
	serve := func(kind string) (port string) {
		certificate, key := certificate(t, c.directory, kind)
		port = freePort(t)
		listening(t, port, start(t, server, "s_server", "-accept", "127.0.0.1:"+port, "-cert", certificate, "-key", key, "-www", "-quiet"))
		return port
	}
	rsa, ec := serve("rsa"), serve("ec")
	a := startAgent(t)
	get := func(client, port, cipher string) {
		t.Helper()
		if out := output(t, "", client, "-sk", "--max-time", "30", "--tls-max", "1.2", "--ciphers", cipher, "--curves", "X25519:P-256", "https://127.0.0.1:"+port+"/"); !strings.Contains(out, "TLSv1.2") {
			t.Fatalf("%s: %s", client, out)
		}
		a.recorded(t, filepath.Base(client), "tls::role=client", "tls::protocol_version=TLS 1.2", "tls::ciphersuite="+standardName(t, cipher))
	}
	get(weak, rsa, "ECDHE-RSA-AES128-GCM-SHA256")
	get(strong, ec, "ECDHE-ECDSA-AES256-GCM-SHA384")
	get(both, rsa, "ECDHE-RSA-AES256-SHA")
	get(both, ec, "ECDHE-ECDSA-CHACHA20-POLY1305")

	check := func(arguments ...string) (text string, status int) {
		t.Helper()
		command := exec.Command(filepath.Join(bin, "crauctl"), append([]string{"policy", "check", "--policy-dir", policies, "--directory", a.log, "--executable", "wt-*"}, arguments...)...)
		var stderr strings.Builder
		command.Stderr = &stderr
		out, _ := command.Output()
		if stderr.Len() > 0 {
			t.Fatalf("%v: %s", arguments, stderr.String())
		}
		return string(out), command.ProcessState.ExitCode()
	}
	out, status := check("-o", "json", "FUTURE")
	var result struct {
		Programs []struct {
			Executable, Verdict string
			Allowed, Denied     int
			Uses                []struct {
				Verdict, Role string
				AlsoAllowed   int `json:"also_allowed"`
				Findings      []struct {
					Property, Value, Scope, Directive string
					Line                              int
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(out), &result); err != nil || status != 4 {
		t.Fatalf("exit status %d, error %v, output\n%s", status, err, out)
	}
	denials := map[string][]string{
		"wt-curl":   {"cipher AES-128-GCM by cipher@TLS", "min_rsa_size 2048 by min_rsa_size"},
		"wt-both":   {"cipher AES-256-CBC by cipher@TLS", "mac HMAC-SHA1 by mac", "min_rsa_size 2048 by min_rsa_size"},
		"wt-strong": nil,
	}
	found := 0
	for _, p := range result.Programs {
		want, ok := denials[p.Executable]
		if !ok {
			continue // the servers
		}
		found++
		var got []string
		for _, u := range p.Uses {
			for _, f := range u.Findings {
				if u.Verdict == "denied" && u.Role == "client" {
					got = append(got, f.Property+" "+f.Value+" by "+f.Directive)
					if f.Line == 0 {
						t.Errorf("%s: no line denies %s", p.Executable, f.Property)
					}
				}
			}
			if also := map[string]int{"wt-both": 1}[p.Executable]; u.AlsoAllowed != also {
				t.Errorf("%s has %d operations that are allowed, want %d", p.Executable, u.AlsoAllowed, also)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("of %s are denied %q, want %q", p.Executable, got, want)
		}
		if verdict := map[bool]string{true: "allowed", false: "denied"}[want == nil]; p.Verdict != verdict {
			t.Errorf("%s is %s, want %s", p.Executable, p.Verdict, verdict)
		}
	}
	if found != len(denials) {
		t.Errorf("%d clients are in the result, want %d\n%s", found, len(denials), out)
	}
	if text, status := check("FUTURE"); status != 4 || !strings.Contains(text, "would have to negotiate differently.") || !strings.Contains(text, "Also seen with parameters that the policy allows: 1 operation.") {
		t.Errorf("exit status %d, output\n%s", status, text)
	}
}
