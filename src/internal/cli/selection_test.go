// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"strings"
	"testing"
	"time"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/goldentest"
)

func TestSelectionShowsWholeOperations(t *testing.T) {
	log := write(t, "log", encode(append(handshakes(t, "gnutls-tls13-p256"), handshakes(t, "openssl-tls13-x25519")...)))
	for name, c := range map[string]struct {
		arguments []string
		want      int // number of roots
	}{
		"no options":                    {nil, 10},
		"a program":                     {[]string{"--executable", "openssl"}, 4},
		"another program":               {[]string{"--executable", "hsbench"}, 6},
		"either program":                {[]string{"--executable", "hsbench", "--executable", "openssl"}, 10},
		"no such program":               {[]string{"--executable", "curl"}, 0},
		"a context":                     {[]string{"--context", "tls::key_exchange"}, 5},
		"a context and its old names":   {[]string{"--context", "tls::handshake"}, 8},
		"a scope":                       {[]string{"--context", "pk::*"}, 7},
		"a number":                      {[]string{"tls::protocol_version=772"}, 4},
		"the name of a number":          {[]string{"tls::protocol_version=TLS 1.3"}, 4},
		"a value deep inside":           {[]string{"pk::group=X25519"}, 2},
		"a role stated by the name":     {[]string{"tls::role=client"}, 5},
		"a group, agreed on or offered": {[]string{"tls::group=x25519"}, 2}, // GnuTLS only offered it
		"two keys":                      {[]string{"tls::role=client", "tls::group=x25519"}, 1},
		"two values of a key":           {[]string{"tls::group=x25519", "tls::group=secp256r1"}, 4},
		"a key pair of an offer":        {[]string{"pk::algorithm=ECDH (X25519)"}, 1},
		"a program without the value":   {[]string{"--executable", "openssl", "tls::group=secp256r1"}, 0},
		"an unknown key":                {[]string{"x::y=1"}, 0},
		"a program in a context of two": {[]string{"--executable", "hsbench", "--context", "tls::sign"}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			got := crauctl(t, append([]string{"query", "--file", log, "-o", "cat"}, c.arguments...)...)
			if got.code != 0 {
				t.Fatalf("exit code %d: %s", got.code, got.stderr)
			}
			if n := strings.Count(got.stdout, "\n"); n != c.want {
				t.Errorf("%d operations are shown, want %d:\n%s", n, c.want, got.stdout)
			}
		})
	}
}

// text returns an element with a string.
func text(key, value string) event.Event {
	return event.Event{Key: []byte(key), Value: event.Value{Kind: event.String, Bytes: []byte(value)}}
}

func word(key string, n int64) event.Event {
	return event.Event{Key: []byte(key), Value: event.Value{Word: n}}
}

// oddities returns a log with unusual content that any program may produce.
func oddities() []byte {
	second := uint64(time.Second)
	log := encode([]event.Group{
		{
			Context: event.ContextID{1}, Start: 10 * second, End: 10 * second,
			Events: []event.Event{
				{Kind: event.NewContext, Executable: []byte("evil\x1b[31m\xff\n\u202egnp")},
				text("name", "tls::handshake\x07"),
				text("x::y", "a\x1b]0;title\x07b \u2066c\\"),
				{Key: []byte("x::bytes"), Value: event.Value{Kind: event.Blob, Bytes: []byte("\x00\xffabc")}},
			},
		},
		{
			Context: event.ContextID{2}, Start: 11 * second, End: 11 * second,
			Events: []event.Event{
				{Kind: event.NewContext, Executable: []byte("curl")},
				text("name", "tls::handshake"),
				word("tls::protocol_version", 0x305),
				word("tls::ciphersuite", 0x03001302),
				word("tls::group", 65000),
				word("tls::extended_master_secret", 1),
				word("tls::minus", -5),
				{Key: []byte("x::long"), Value: event.Value{Kind: event.String, Bytes: []byte("beginning"), Truncated: true}},
				{Key: []byte("x::gone"), Value: event.Value{Kind: event.String, Unreadable: true}},
			},
		},
		{
			Context: event.ContextID{3}, Start: 12 * second, End: 12 * second,
			Name: []byte("tls::handshake"), Executable: []byte("nginx"), Origin: []byte{0xab, 0xcd},
			Events: []event.Event{word("tls::ciphersuite", 0x1301)},
		},
		{
			Context: event.ContextID{4}, Start: 13 * second, End: 13 * second,
			Events: []event.Event{{Kind: event.NewContext}},
		},
	})
	for _, l := range []event.Loss{
		{Events: 1234, Hits: 0, Reason: "ring-full", Place: "kernel", Start: 11*second + 1, End: 11*second + second/2},
		{Events: 1, Hits: 1, Reason: "disk-full\x1b[2J", Place: "disk", Start: 12 * second, End: 14 * second},
		{Events: 0, Hits: 2500000, Reason: "", Place: "", Start: 20 * second, End: 90000 * second},
		{Events: 90, Hits: 30, Reason: "queue-full", Place: "agent", Start: 20 * second, End: 21 * second},
	} {
		log = event.AppendLoss(log, &l)
	}
	return log
}

func TestAnyContentOfALogIsShownSafely(t *testing.T) {
	log := write(t, "log", oddities())
	for _, form := range []string{"short", "json", "json-pretty", "cat"} {
		t.Run(form, func(t *testing.T) {
			got := crauctl(t, "query", "--file", log, "-o", form)
			if got.code != 0 {
				t.Fatalf("exit code %d: %s", got.code, got.stderr)
			}
			for _, output := range []string{got.stdout, got.stderr} {
				for _, r := range output {
					if r != '\n' && (r < ' ' || r == '\x7f' || r == '\u202e' && form == "short") {
						t.Errorf("the output has the character %q", r)
					}
				}
			}
			goldentest.Compare(t, "query/oddities."+form, got.stdout+"-- stderr --\n"+got.stderr)
		})
	}
}

func TestLossesAreShownAtTheirTime(t *testing.T) {
	log := write(t, "log", oddities())
	for name, c := range map[string]struct {
		arguments []string
		want      int
	}{
		"all":              {nil, 4},
		"of any program":   {[]string{"--executable", "nobody"}, 4},
		"until a time":     {[]string{"--until", "@1784800011.2"}, 1},
		"since a time":     {[]string{"--since", "@1784800015"}, 2},
		"with the newest":  {[]string{"-n", "1"}, 3},
		"after the newest": {[]string{"-n", "0"}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			got := crauctl(t, append([]string{"query", "--file", log}, c.arguments...)...)
			if n := strings.Count(got.stdout, " lost "); n != c.want {
				t.Errorf("%d losses are shown, want %d:\n%s", n, c.want, got.stdout)
			}
		})
	}
}

func TestCBOROutputIsALogOfTheSelection(t *testing.T) {
	log := write(t, "log", append(encode(append(handshakes(t, "gnutls-tls12"), handshakes(t, "openssl-tls13-x25519")...)), oddities()...))
	for name, arguments := range map[string][]string{
		"no options": nil,
		"a program":  {"--executable", "openssl"},
		"the newest": {"-n", "3"},
		"by a value": {"tls::group=x25519"},
	} {
		t.Run(name, func(t *testing.T) {
			arguments = append([]string{"query", "--file", log}, arguments...)
			want := crauctl(t, append(arguments, "-o", "short")...)
			binary := crauctl(t, append(arguments, "-o", "cbor")...)
			if binary.code != 0 || binary.stderr != "" {
				t.Fatalf("exit code %d, errors %q", binary.code, binary.stderr)
			}
			second := []string{"query", "--file", write(t, "second", []byte(binary.stdout))}
			if got := crauctl(t, second...); got.code != 0 || got.stdout != want.stdout {
				t.Errorf("a query of the CBOR: exit code %d, shown is:\n%s\nwant:\n%s", got.code, got.stdout, want.stdout)
			}
		})
	}
}

func TestARegistryFileAddsNames(t *testing.T) {
	registry := write(t, "site.toml", []byte("[names.tls-groups]\n65000 = \"house_group\"\n"))
	log := write(t, "log", oddities())
	got := crauctl(t, "query", "--file", log, "--registry", registry, "tls::group=house_group", "-o", "cat", "-n", "1")
	if got.code != 0 || !strings.Contains(got.stdout, "house_group") {
		t.Errorf("exit code %d, output %q, want the name of the registry file", got.code, got.stdout)
	}
	broken := write(t, "broken.toml", []byte("\n[nams]\n"))
	got = crauctl(t, "query", "--file", log, "--registry", broken)
	if got.code != 1 || !strings.Contains(got.stderr, broken+":2: ") {
		t.Errorf("exit code %d, error %q, want 1 and the line", got.code, got.stderr)
	}
}

func TestTheBootTimeComesFromOptionLogOrMachine(t *testing.T) {
	groups := handshakes(t, "openssl-tls12")[:1]
	bare := event.Append(nil, &groups[0])
	for name, c := range map[string]struct {
		log       []byte
		arguments []string
		want      string
	}{
		"on the command line": {append(event.AppendMetadata(nil, 1784000000, 0), bare...), []string{"--boot-time", "0"}, "1970-01-01 00:31:18"},
		"in the log":          {append(event.AppendMetadata(nil, 1784000000, 0), bare...), nil, "2026-07-14 04:04:38"},
		"of this machine":     {bare, nil, "2026-07-23 10:17:58"},
	} {
		t.Run(name, func(t *testing.T) {
			got := crauctl(t, append([]string{"query", "--file", write(t, "log", c.log)}, c.arguments...)...)
			if !strings.HasPrefix(got.stdout, c.want) {
				t.Errorf("output is %q, want it at %s", got.stdout, c.want)
			}
		})
	}
}

func TestHelpAndVersionArePrinted(t *testing.T) {
	if got := crauctl(t, "--version"); got.code != 0 || got.stdout != "crauctl 1.2.3\n" {
		t.Errorf("exit code %d, output %q, want the version", got.code, got.stdout)
	}
	got := crauctl(t, "query", "--help")
	for _, want := range []string{"Exit status:", "--since", "tls::protocol_version=\"TLS 1.2\""} {
		if got.code != 0 || !strings.Contains(got.stdout, want) {
			t.Errorf("exit code %d, help without %q:\n%s", got.code, want, got.stdout)
		}
	}
}

func TestCompletionsComeFromTheRegistry(t *testing.T) {
	for name, c := range map[string]struct {
		arguments []string
		want      string
	}{
		"output forms": {[]string{"query", "-o", ""}, "json-pretty\t"},
		"contexts":     {[]string{"query", "--context", ""}, "tls::handshake\tTLS handshake\n"},
		"keys":         {[]string{"query", ""}, "tls::group=\tgroup of the key exchange\n"},
		"values":       {[]string{"query", "tls::group="}, "tls::group=X25519MLKEM768\n"},
		"commands":     {[]string{""}, "query\t"},
	} {
		t.Run(name, func(t *testing.T) {
			got := crauctl(t, append([]string{"__complete"}, c.arguments...)...)
			if got.code != 0 || !strings.Contains(got.stdout, c.want) {
				t.Errorf("exit code %d, completions without %q:\n%s", got.code, c.want, got.stdout)
			}
		})
	}
}
