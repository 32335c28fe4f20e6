// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"strings"
	"testing"

	"crypto-auditing/src/internal/event"
)

// captured writes a log with handshakes of three programs: two captured at their sockets,
// one by probes.
func captured(t *testing.T) string {
	t.Helper()
	handshake := func(n byte, executable, unit string, source event.Source) event.Group {
		return event.Group{
			Context: event.ContextID{n}, Start: uint64(n) * 1e9, End: uint64(n) * 1e9,
			Name: []byte("tls::handshake_client"), Executable: []byte(executable), Unit: []byte(unit), Source: []byte(source),
			Events: []event.Event{
				{Kind: event.NewContext, Parent: event.ContextID{0xff}, Executable: []byte(executable)},
				{Key: []byte("name"), Value: event.Value{Kind: event.String, Bytes: []byte("tls::handshake_client")}},
				{Key: []byte("tls::protocol_version"), Value: event.Value{Word: 772}},
			},
		}
	}
	return write(t, "captured", encode([]event.Group{
		handshake(1, "nginx", "nginx.service", event.Wire), handshake(2, "ssh", "session.scope", event.Wire), handshake(3, "curl", "", ""),
	}))
}

func TestUnitAndSourceSelectOperations(t *testing.T) {
	log := captured(t)
	for name, c := range map[string]struct {
		arguments []string
		want      string
	}{
		"a service":             {[]string{"-u", "nginx.service"}, "nginx"},
		"without its suffix":    {[]string{"--unit", "nginx"}, "nginx"},
		"a pattern":             {[]string{"-u", "*.s*"}, "nginx ssh"},
		"two units":             {[]string{"-u", "session.scope", "-u", "other"}, "ssh"},
		"another unit":          {[]string{"-u", "ngin"}, ""},
		"the wire":              {[]string{"--source", "wire"}, "nginx ssh"},
		"probes":                {[]string{"--source", "usdt"}, "curl"},
		"two sources":           {[]string{"--source", "usdt", "--source", "wire"}, "nginx ssh curl"},
		"functions":             {[]string{"--source", "function"}, ""},
		"unit as data":          {[]string{"unit=nginx.service"}, "nginx"},
		"source as data":        {[]string{"crau::source=usdt"}, "curl"},
		"excluded source":       {[]string{"source!=wire"}, "curl"},
		"unit of other sources": {[]string{"-u", "nginx", "--source", "usdt"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := crauctl(t, append([]string{"query", "--file", log, "-o", "short", "-q"}, c.arguments...)...)
			var programs []string
			for line := range strings.Lines(got.stdout) {
				programs = append(programs, strings.Trim(strings.Fields(line)[2], ":"))
			}
			if shown := strings.Join(programs, " "); got.code != 0 || shown != c.want {
				t.Errorf("exit code %d, %s, shown are %q, want %q", got.code, got.stderr, shown, c.want)
			}
		})
	}
	if got := crauctl(t, "query", "--file", log, "--source", "ebpf"); got.code != 2 || !strings.Contains(got.stderr, `unknown source "ebpf": there are usdt, function and wire`) {
		t.Errorf("exit code %d, %s", got.code, got.stderr)
	}
	if got := crauctl(t, "__complete", "query", "--source", ""); !strings.HasPrefix(got.stdout, "usdt\nfunction\nwire\n") {
		t.Errorf("completed is %q", got.stdout)
	}
}

func TestUnitAndSourceAreShown(t *testing.T) {
	log := captured(t)
	const unit, source = `"crau::unit"`, `"crau::source"`
	for name, c := range map[string]struct {
		arguments []string
		has, not  []string
	}{
		"lines":                      {[]string{"-o", "short"}, []string{"nginx (nginx.service): ", "curl: "}, []string{"crau::", "wire"}},
		"all elements":               {[]string{"-o", "verbose"}, []string{"crau::unit=nginx.service", "crau::source=wire"}, []string{"usdt"}},
		"JSON":                       {[]string{"-o", "json"}, []string{unit + `:"nginx.service"`, source + `:"wire"`}, nil},
		"the public form":            {[]string{"-o", "json-pretty"}, []string{"tls::protocol_version"}, []string{"crau::"}},
		"the public form and more":   {[]string{"-o", "json-pretty", "--all"}, []string{unit + `: "nginx.service"`, source + `: "wire"`}, nil},
		"a field of the public form": {[]string{"-o", "json-pretty", "--output-fields", "unit"}, []string{unit}, []string{source, "protocol_version"}},
		"values":                     {[]string{"-F", "unit"}, []string{"1 nginx.service\n", "1 session.scope\n"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := crauctl(t, append([]string{"query", "--file", log}, c.arguments...)...)
			if got.code != 0 {
				t.Fatal(got.stderr)
			}
			for _, text := range c.has {
				if !strings.Contains(got.stdout, text) {
					t.Errorf("no %q in\n%s", text, got.stdout)
				}
			}
			for _, text := range c.not {
				if strings.Contains(got.stdout, text) {
					t.Errorf("%q in\n%s", text, got.stdout)
				}
			}
		})
	}
}

func TestALogWithoutSourcesIsOfProbes(t *testing.T) {
	const log = "../../../tests/data/log-0.1.0/log"
	all := crauctl(t, "query", "--directory", log)
	if usdt := crauctl(t, "query", "--directory", log, "--source", "usdt"); all.stdout == "" || usdt.stdout != all.stdout {
		t.Errorf("with the source usdt, shown is\n%s\nwithout it\n%s", usdt.stdout, all.stdout)
	}
	for _, arguments := range [][]string{{"--source", "wire"}, {"-u", "*"}} {
		if got := crauctl(t, append([]string{"query", "--directory", log, "-o", "cat", "-q"}, arguments...)...); strings.Contains(got.stdout, "handshake") {
			t.Errorf("%v selects\n%s", arguments, got.stdout)
		}
	}
}
