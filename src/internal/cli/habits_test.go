// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"crypto-auditing/src/internal/cli"
	"crypto-auditing/src/internal/cli/console"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/goldentest"
)

func TestAnEmptyResultGivesItsReason(t *testing.T) {
	dir := store(t, workload(t, "gnutls-tls13-p256", 2))
	all := strings.Count(crauctl(t, "query", "--directory", dir, "-o", "cat").stdout, "\n")
	for name, c := range map[string]struct {
		arguments []string
		want      []string
	}{
		"a program":                {[]string{"--executable", "nobody"}, []string{"-- No operations --", "no operation of the log matches the options"}},
		"a value":                  {[]string{"tls::group=x448"}, []string{"-- No operations --", "no operation of the log matches the options"}},
		"a value, backwards":       {[]string{"tls::group=x448", "-r"}, []string{"-- No operations --", "operations left out by the options"}},
		"a time":                   {[]string{"--since", "2026-07-24"}, []string{"-- No operations --", "operations left out by the options"}},
		"none is requested":        {[]string{"-n", "0"}, nil},
		"the reason is suppressed": {[]string{"tls::grup=x448", "-q"}, nil},
		"something is shown":       {[]string{"-n", "1"}, nil},
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

func TestUnknownNamesAreReportedWithTheNearestOne(t *testing.T) {
	for name, c := range map[string]struct{ argument, want string }{
		"a key":                 {"tls::grup=x25519", `no key "tls::grup" is known; did you mean "tls::group"?`},
		"a key without a scope": {"protcol_version=771", `no key "protcol_version" is known; did you mean "protocol_version"?`},
		"an unknown key":        {"company::thing=1", `no key "company::thing" is known` + "\n"},
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

func TestMatchesHaveShortForms(t *testing.T) {
	log := write(t, "log", encode(append(workload(t, "gnutls-tls13-p256", 1), workload(t, "openssl-tls13-x25519", 1)...)))
	shown := func(arguments ...string) string {
		return crauctl(t, append([]string{"query", "--file", log, "-o", "json"}, arguments...)...).stdout
	}
	all := shown()
	for name, c := range map[string]struct{ some, same []string }{
		"without a scope":          {[]string{"group=x25519"}, []string{"tls::group=x25519"}},
		"a path for its base name": {[]string{"--executable", "/usr/bin/openssl"}, []string{"--executable", "openssl"}},
		"a pattern":                {[]string{"--executable", "open*"}, []string{"--executable", "openssl"}},
		"two values of a key":      {[]string{"tls::group=x25519", "tls::group=x448"}, []string{"tls::group=x25519"}},
		"a pattern for the text":   {[]string{"-g", "x25519,"}, []string{"-g", "(?i)X25519,"}},
	} {
		t.Run(name, func(t *testing.T) {
			some, same := shown(c.some...), shown(c.same...)
			if some != same || some == "" || some == all {
				t.Errorf("%v shows\n%s\nand %v\n%s", c.some, some, c.same, same)
			}
		})
	}
	// The matching and the excluded operations add up to all.
	with, without := shown("tls::role=server"), shown("tls::role!=server")
	if strings.Count(with, "\n")+strings.Count(without, "\n") != strings.Count(all, "\n") || with == "" || without == "" {
		t.Errorf("with the value, shown is\n%s\nwithout it\n%s\nof\n%s", with, without, all)
	}
	if got := shown("tls::role=server", "tls::role!=server"); got != "" {
		t.Errorf("with and without the value, shown is %s", got)
	}
	for argument, want := range map[string]string{"--executable=[": "bad pattern", "--grep=(": "bad pattern", "--executable=/usr/bin/": "needs the name"} {
		if got := crauctl(t, "query", "--file", log, argument); got.code != 2 || !strings.Contains(got.stderr, want) {
			t.Errorf("%s: exit code %d, errors %q", argument, got.code, got.stderr)
		}
	}
}

// Libraries spell names differently. Most chunks of the log have only one of the spellings:
// a search finds them only if it looks for all spellings.
func TestAMatchFindsEverySpelling(t *testing.T) {
	const each = 400
	var groups []event.Group
	for i, hash := range []string{"SHA1", "SHA-1", "sha1", "SHA256", "SHA2-256"} {
		for n := range each {
			g := operation("signer", uint64(1+i*each+n))
			g.Events = append(g.Events, text("pk::hash", hash))
			groups = append(groups, g)
		}
	}
	dir := store(t, groups)
	for argument, want := range map[string]int{
		"pk::hash=SHA1": 3 * each, "pk::hash=sha-1": 3 * each, "hash=SHA_1": 3 * each, "pk::hash=sha-256": 2 * each, "pk::hash!=SHA1": 2 * each, "pk::hash=SHA384": 0,
	} {
		got := crauctl(t, "query", "-q", "--directory", dir, "--count", argument)
		if strings.TrimSpace(got.stdout) != fmt.Sprint(want) {
			t.Errorf("%s: %s operations, errors %q, want %d", argument, got.stdout, got.stderr, want)
		}
	}
}

func TestTheNumberOfLinesIsOptional(t *testing.T) {
	dir := store(t, workload(t, "openssl-tls13-x25519", 20))
	count := func(arguments ...string) int {
		got := crauctl(t, append([]string{"query", "-D", dir, "-o", "cat"}, arguments...)...)
		if got.code != 0 {
			t.Errorf("%v: exit code %d, errors %q", arguments, got.code, got.stderr)
		}
		return strings.Count(got.stdout, "\n")
	}
	all := count()
	for _, c := range []struct {
		arguments []string
		want      int
	}{
		{[]string{"-n"}, 10},
		{[]string{"-rn"}, 10},
		{[]string{"-n", "3"}, 3},
		{[]string{"-n3"}, 3},
		{[]string{"--lines", "3"}, 3},
		{[]string{"--lines=3", "-r"}, 3},
		{[]string{"--lines", "-r"}, 10},
		{[]string{"-n", "tls::role=server"}, 10},
		{[]string{"-n", "5", "tls::role=server"}, 5},
		{[]string{"-n", "all"}, all},
		{[]string{"-S", "-30years", "-n"}, 10},
		{[]string{"-g", "-n"}, 0},
	} {
		if got := count(c.arguments...); got != c.want {
			t.Errorf("%v: %d operations, want %d", c.arguments, got, c.want)
		}
	}
	for _, arguments := range [][]string{{"-n", "-1"}, {"-n", "99999999999999999999"}, {"-n=x"}, {"-S", ""}, {"--until="}} {
		if got := crauctl(t, append([]string{"query", "-D", dir}, arguments...)...); got.code != 2 || got.stdout != "" {
			t.Errorf("%v: exit code %d, errors %q", arguments, got.code, got.stderr)
		}
	}
}

func TestBootSelectsOperationsSinceBoot(t *testing.T) {
	entries := event.AppendMetadata(nil, epoch/int64(time.Second)-100, 0)
	for _, g := range []event.Group{operation("before", 50), operation("after", 150)} {
		entries = event.Append(entries, &g)
	}
	got := crauctl(t, "query", "--file", write(t, "log", entries), "-b", "-o", "json")
	if got.code != 0 || strings.Contains(got.stdout, "before") || !strings.Contains(got.stdout, "after") {
		t.Errorf("exit code %d, shown is %s", got.code, got.stdout)
	}
}

func TestTimesMayBeInUTC(t *testing.T) {
	var stdout, stderr bytes.Buffer
	e := environment(t, &stdout, &stderr)
	e.Location = time.FixedZone("X", 3600)
	log := write(t, "log", encode([]event.Group{operation("one", 10)}))
	for _, arguments := range [][]string{{"query", "--file", log}, {"query", "--file", log, "--utc"}} {
		if code := cli.Run(context.Background(), arguments, e); code != 0 {
			t.Errorf("exit code %d, errors %q", code, &stderr)
		}
	}
	if want := "2026-07-23 10:46:50 one: pk::sign\n2026-07-23 09:46:50 one: pk::sign\n"; stdout.String() != want {
		t.Errorf("shown is\n%swant\n%s", &stdout, want)
	}
}

func TestQueryCounts(t *testing.T) {
	dir := store(t, workload(t, "openssl-tls13-x25519", 3))
	lines := strings.Count(crauctl(t, "query", "-D", dir, "-o", "cat").stdout, "\n")
	for want, arguments := range map[string][]string{
		"12\n":                                {"--count"},
		"0\n":                                 {"--count", "-q", "tls::group=x448"},
		"2\n":                                 {"--count", "-n", "2"},
		"6 29 (x25519)\n":                     {"-F", "tls::group"},
		"6 29 (x25519)\n6 X25519\n":           {"-F", "group"},
		`{"value":"server","count":3}` + "\n": {"-F", "tls::role", "-o", "json", "tls::role=server"},
		`{"value":"29","name":"x25519","count":3}` + "\n": {"-F", "tls::group", "-o", "json", "tls::role=server"},
	} {
		if got := crauctl(t, append([]string{"query", "-D", dir}, arguments...)...); got.stdout != want || got.code != 0 {
			t.Errorf("%v: exit code %d, errors %q, output\n%s\nwant\n%s", arguments, got.code, got.stderr, got.stdout, want)
		}
	}
	if lines != 12 {
		t.Errorf("%d operations are shown, want 12", lines)
	}
	keys := crauctl(t, "query", "-D", dir, "-N").stdout
	if !regexp.MustCompile(`(?m)^ *6 tls::group$`).MatchString(keys) || !regexp.MustCompile(`(?m)^ *6 pk::group$`).MatchString(keys) {
		t.Errorf("the keys are\n%s", keys)
	}
	programs := crauctl(t, "query", "-D", dir, "-F", "executable").stdout
	if !regexp.MustCompile(`^\d+ openssl\n$`).MatchString(programs) {
		t.Errorf("the programs are\n%s", programs)
	}
	for _, arguments := range [][]string{{"--count", "-N"}, {"--count", "-f"}, {"-N", "-F", "x::y"}} {
		if got := crauctl(t, append([]string{"query", "-D", dir}, arguments...)...); got.code != 2 {
			t.Errorf("%v: exit code %d, errors %q", arguments, got.code, got.stderr)
		}
	}
}

func TestOutputFieldsAndNames(t *testing.T) {
	dir := store(t, workload(t, "openssl-tls13-x25519", 1))
	query := []string{"query", "-D", dir, "tls::role=server", "-o"}
	got := crauctl(t, append(query, "json", "--names", "--output-fields", "group,tls::protocol_version")...).stdout
	var o struct{ Events map[string]any }
	if err := json.Unmarshal([]byte(got), &o); err != nil {
		t.Fatal(err)
	}
	if len(o.Events) != 2 || o.Events["tls::protocol_version"] != 772.0 || o.Events["tls::protocol_version_name"] != "TLS 1.3" {
		t.Errorf("the elements are %v", o.Events)
	}
	if !strings.Contains(got, `"tls::group":29,"tls::group_name":"x25519"`) || strings.Contains(got, "tls::role") {
		t.Errorf("shown is %s", got)
	}
	if got := crauctl(t, append(query, "cat", "--output-fields", "tls::role")...).stdout; strings.Contains(got, "ciphersuite=") {
		t.Errorf("shown is %s", got)
	}
}

func TestMoreOutputForms(t *testing.T) {
	log := write(t, "log", oddities())
	for _, form := range []string{"short-iso", "short-precise", "verbose", "csv"} {
		t.Run(form, func(t *testing.T) {
			got := crauctl(t, "query", "--file", log, "-o", form)
			if got.code != 0 {
				t.Errorf("exit code %d, errors %q", got.code, got.stderr)
			}
			goldentest.Compare(t, "query/oddities."+form, got.stdout)
			if form != "csv" {
				return
			}
			table, err := csv.NewReader(strings.NewReader(got.stdout)).ReadAll()
			if err != nil {
				t.Fatal(err)
			}
			for _, line := range table {
				for _, c := range line[3:] {
					if strings.HasPrefix(c, "=") || strings.HasPrefix(c, "@") {
						t.Errorf("a spreadsheet would read %q as a formula", c)
					}
				}
			}
		})
	}
}

func TestLocalesWithoutUTF8GetASCII(t *testing.T) {
	var stdout, stderr bytes.Buffer
	e := environment(t, &stdout, &stderr)
	e.Lookup = func(name string) (string, bool) { return "C", name == "LANG" }
	if code := cli.Run(context.Background(), []string{"query", "--file", write(t, "log", append(oddities(), encode(workload(t, "openssl-tls13-x25519", 1))...))}, e); code != 0 {
		t.Errorf("exit code %d, errors %q", code, &stderr)
	}
	for _, c := range stdout.Bytes() {
		if c > 0x7e {
			t.Fatalf("shown is\n%s", &stdout)
		}
	}
	if !strings.Contains(stdout.String(), "\n|- ") || !strings.Contains(stdout.String(), "\n`- ") || !strings.Contains(stdout.String(), "\n-- 1,234 events lost") {
		t.Errorf("shown is\n%s", &stdout)
	}
}

func TestAnInterruptEndsFollowingWithItsOwnStatus(t *testing.T) {
	dir := store(t, workload(t, "openssl-tls13-x25519", 1))
	for cause, want := range map[error]int{console.ErrInterrupted: 130, context.Canceled: 0} {
		ctx, cancel := context.WithCancelCause(context.Background())
		var stdout shared
		e := environment(t, nil, new(bytes.Buffer))
		e.Stdout = &stdout
		done := make(chan int)
		go func() { done <- cli.Run(ctx, []string{"query", "-D", dir, "-f", "-o", "cat"}, e) }()
		for end := time.Now().Add(time.Minute); !strings.Contains(stdout.String(), "tls::handshake"); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("nothing is shown")
			}
		}
		cancel(cause)
		if code := <-done; code != want {
			t.Errorf("%v: exit code %d, want %d", cause, code, want)
		}
	}
}

func TestCommandsDefaultToTheLogOfTheMachine(t *testing.T) {
	dir, conf := store(t, workload(t, "openssl-tls12", 2)), t.TempDir()
	if err := os.WriteFile(filepath.Join(conf, "agent.conf"), []byte("log_dir = \""+dir+"\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"verify", "log-info"} {
		var stdout, stderr bytes.Buffer
		e := environment(t, &stdout, &stderr)
		e.ConfigDirs = []string{conf}
		code := cli.Run(context.Background(), []string{command}, e)
		if want := crauctl(t, command, "-D", dir); code != 0 || stdout.String() != want.stdout {
			t.Errorf("%s: exit code %d, errors %q, output\n%s\nwant\n%s", command, code, &stderr, &stdout, want.stdout)
		}
	}
	if err := os.WriteFile(filepath.Join(conf, "agent.conf"), []byte("log_dir = 5\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	e := environment(t, nil, &stderr)
	e.ConfigDirs = []string{conf}
	if code := cli.Run(context.Background(), []string{"verify"}, e); code != 1 || !strings.Contains(stderr.String(), "--directory") {
		t.Errorf("exit code %d, errors %q", code, &stderr)
	}
}

func TestMessagesUseTermsOfTheCommandLine(t *testing.T) {
	internals := regexp.MustCompile(`strconv|arg\(s\)|struct field|readdirent|deadline exceeded|\bflag\b|dial unix|cannot read log: cannot`)
	registry := write(t, "registry.toml", []byte("[keys.\"x::y\"]\ntype = 5\n"))
	for line, want := range map[string]string{
		"query --boot-time x":             `bad value "x" of --boot-time: it must be a whole number`,
		"query --follow=maybe":            `bad value "maybe" of --follow: it must be true or false`,
		"query --nonsense":                "unknown option --nonsense",
		"query -Z":                        "unknown option -Z",
		"query -o":                        "the option --output needs a value",
		"query -n -1":                     `bad value "-1" of --lines: it must not be negative: a number, or all`,
		"probes":                          "probes needs at least one FILE",
		"subscriptions delete":            "subscriptions delete needs at least one NAME",
		"verify x":                        `verify takes no argument, but "x" is one`,
		"query -D /no/such/directory":     "cannot open log directory: open /no/such/directory: no such file or directory",
		"query -D /proc/version":          "cannot read log: /proc/version is not a directory; use --file for a file",
		"query --registry " + registry:    `registry.toml:2: key "keys.x::y.type": its type is integer, but it must be a string`,
		"query nonsense":                  `"nonsense" is not a match`,
		"status --socket /no/such/socket": "cannot reach the agent at /no/such/socket",
	} {
		got := crauctl(t, strings.Fields(line)...)
		if !strings.Contains(got.stderr, want) || internals.MatchString(got.stderr) || got.code == 0 {
			t.Errorf("%s: exit code %d, errors %q, want %q", line, got.code, got.stderr, want)
		}
	}
}
