// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"strings"
	"testing"
)

func TestAnEmptyResultGivesItsReason(t *testing.T) {
	dir := store(t, workload(t, "gnutls-tls13-p256", 2))
	all := strings.Count(crauctl(t, "query", "--directory", dir, "-o", "cat").stdout, "\n")
	for name, c := range map[string]struct {
		arguments []string
		want      []string
	}{
		"a program":           {[]string{"--executable", "nobody"}, []string{"-- No operations --", "no operation of the log matches the options"}},
		"a value":             {[]string{"tls::group=x448"}, []string{"-- No operations --", "operations left out by the options"}},
		"a value, backwards":  {[]string{"tls::group=x448", "-r"}, []string{"-- No operations --", "operations left out by the options"}},
		"a time":              {[]string{"--since", "2026-07-24"}, []string{"-- No operations --", "no operation of the log matches the options"}},
		"none is wanted":      {[]string{"-n", "0"}, nil},
		"no reason is wanted": {[]string{"tls::grup=x448", "-q"}, nil},
		"something is shown":  {[]string{"-n", "1"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := crauctl(t, append([]string{"query", "--directory", dir}, c.arguments...)...)
			if got.code != 0 || c.want == nil && got.stderr != "" || c.want != nil && got.stdout != "" {
				t.Errorf("exit code %d, errors %q, shown is %q", got.code, got.stderr, got.stdout)
			}
			for _, want := range c.want {
				if !strings.Contains(got.stderr, want) {
					t.Errorf("errors are %q, want %q", got.stderr, want)
				}
			}
		})
	}
	empty := crauctl(t, "query", "--directory", history(t, stopped(5)))
	if want := "-- No operations --\ncrauctl: the log holds no operations\n"; empty.stderr != want || empty.code != 0 {
		t.Errorf("exit code %d, errors %q, want %q", empty.code, empty.stderr, want)
	}
	if all == 0 {
		t.Error("the log has no operations")
	}
}

func TestUnknownNamesAreToldWithTheNearestKnownOne(t *testing.T) {
	for name, c := range map[string]struct{ argument, want string }{
		"a key":                 {"tls::grup=x25519", `no key "tls::grup" is known; did you mean "tls::group"?`},
		"a key without a scope": {"protcol_version=771", `no key "protcol_version" is known; did you mean "protocol_version"?`},
		"a key like no other":   {"company::thing=1", `no key "company::thing" is known` + "\n"},
		"a context":             {"--context=tls::handshak", `no context "tls::handshak" is known; did you mean "tls::handshake"?`},
	} {
		t.Run(name, func(t *testing.T) {
			got := crauctl(t, "query", "--file", publicLog, c.argument)
			if got.code != 0 || !strings.Contains(got.stderr, "crauctl: warning: "+c.want) {
				t.Errorf("exit code %d, errors %q, want a warning %q", got.code, got.stderr, c.want)
			}
		})
	}
	for _, known := range []string{"tls::group=x25519", "group=x25519", "name=pk::sign", "--context=tls::*", "--context=tls::handshake"} {
		if got := crauctl(t, "query", "--file", publicLog, known); strings.Contains(got.stderr, "warning") {
			t.Errorf("%s: errors are %q", known, got.stderr)
		}
	}
}

func TestMatchesSelectAsTheyAreWritten(t *testing.T) {
	log := write(t, "log", encode(append(workload(t, "gnutls-tls13-p256", 1), workload(t, "openssl-tls13-x25519", 1)...)))
	shown := func(arguments ...string) string {
		return crauctl(t, append([]string{"query", "--file", log, "-o", "json"}, arguments...)...).stdout
	}
	all := shown()
	for name, c := range map[string]struct{ some, same []string }{
		"a scope may be left out":          {[]string{"group=x25519"}, []string{"tls::group=x25519"}},
		"a path stands for its base name":  {[]string{"--executable", "/usr/bin/openssl"}, []string{"--executable", "openssl"}},
		"a pattern stands for all it fits": {[]string{"--executable", "open*"}, []string{"--executable", "openssl"}},
		"any of one key":                   {[]string{"tls::group=x25519", "tls::group=x448"}, []string{"tls::group=x25519"}},
		"a pattern of the text":            {[]string{"-g", "x25519,"}, []string{"-g", "(?i)X25519,"}},
	} {
		t.Run(name, func(t *testing.T) {
			some, same := shown(c.some...), shown(c.same...)
			if some != same || some == "" || some == all {
				t.Errorf("%v shows\n%s\nand %v\n%s", c.some, some, c.same, same)
			}
		})
	}
	// What is left out and what is not are all.
	with, without := shown("tls::role=server"), shown("tls::role!=server")
	if strings.Count(with, "\n")+strings.Count(without, "\n") != strings.Count(all, "\n") || with == "" || without == "" {
		t.Errorf("with the value there is\n%s\nwithout\n%s\nof\n%s", with, without, all)
	}
	if got := shown("tls::role=server", "tls::role!=server"); got != "" {
		t.Errorf("with and without it there is %s", got)
	}
	for argument, want := range map[string]string{"--executable=[": "bad pattern", "--grep=(": "bad pattern", "--executable=/usr/bin/": "needs the name"} {
		if got := crauctl(t, "query", "--file", log, argument); got.code != 2 || !strings.Contains(got.stderr, want) {
			t.Errorf("%s: exit code %d, errors %q", argument, got.code, got.stderr)
		}
	}
}
