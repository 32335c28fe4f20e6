// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"crypto-auditing/src/internal/cli"
	"crypto-auditing/src/internal/cli/console"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/goldentest"
	"crypto-auditing/src/internal/schema/tracetest"
)

// result is the result of a run of crauctl.
type result struct {
	code           int
	stdout, stderr string
}

// crauctl runs crauctl in UTC, on 24 July 2026 at noon.
func crauctl(t testing.TB, arguments ...string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := cli.Run(context.Background(), arguments, environment(t, &stdout, &stderr))
	return result{code, stdout.String(), stderr.String()}
}

func environment(t testing.TB, stdout, stderr *bytes.Buffer) console.Environment {
	t.Helper()
	procStat := filepath.Join(t.TempDir(), "stat")
	if err := os.WriteFile(procStat, []byte("cpu  1 2 3\nbtime 1784800000\nprocesses 9\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return console.Environment{
		Stdin: strings.NewReader(""), Stdout: stdout, Stderr: stderr,
		Lookup:   func(string) (string, bool) { return "", false },
		Now:      func() time.Time { return time.Date(2026, 7, 24, 12, 0, 0, 0, time.UTC) },
		Location: time.UTC,
		ProcStat: procStat,
		Version:  "1.2.3",
	}
}

// A log of the public project, and the boot time of its machine.
const (
	publicLog  = "testdata/query/audit.cborseq"
	publicBoot = "1771970837"
)

// fromJSON returns the value of a JSON text.
func fromJSON(t *testing.T, text string) (value []any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		t.Fatalf("output is not a JSON array: %v\n%s", err, text)
	}
	return value
}

func TestOutputMatchesThePublicTool(t *testing.T) {
	want, err := os.ReadFile("testdata/query/since.json")
	if err != nil {
		t.Fatal(err)
	}
	got := crauctl(t, "query", "--file", publicLog, "--boot-time", publicBoot, "--since", "2026-02-24T23:14:23Z", "-o", "json-pretty")
	if got.code != 0 || got.stderr != "" {
		t.Fatalf("exit code %d, errors %q", got.code, got.stderr)
	}
	if !reflect.DeepEqual(fromJSON(t, got.stdout), fromJSON(t, string(want))) {
		t.Error("the JSON differs from since.json")
	}
	if got.stdout != string(want)+"\n" {
		t.Error("the text differs from since.json and a line feed")
	}
}

func TestTimeLimitsSelectOperations(t *testing.T) {
	for name, c := range map[string]struct {
		arguments []string
		want      []string // seconds of the starts
	}{
		"no limit":         {nil, []string{"23:13:23", "23:14:23", "23:15:23"}},
		"since":            {[]string{"--since", "2026-02-24T23:14:23Z"}, []string{"23:14:23", "23:15:23"}},
		"until":            {[]string{"--until", "2026-02-24T23:15:23Z"}, []string{"23:13:23", "23:14:23"}},
		"since and until":  {[]string{"-S", "2026-02-24 23:14:00", "-U", "2026-02-24 23:15:00"}, []string{"23:14:23"}},
		"since too late":   {[]string{"--since", "today"}, nil},
		"relative":         {[]string{"--since", "2000 days ago", "--until", "+1h"}, []string{"23:13:23", "23:14:23", "23:15:23"}},
		"the newest":       {[]string{"-n", "1"}, []string{"23:15:23"}},
		"zero":             {[]string{"-n", "0"}, nil},
		"more than all":    {[]string{"-n", "100"}, []string{"23:13:23", "23:14:23", "23:15:23"}},
		"newest first":     {[]string{"-r"}, []string{"23:15:23", "23:14:23", "23:13:23"}},
		"two newest first": {[]string{"-r", "-n", "2"}, []string{"23:15:23", "23:14:23"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := crauctl(t, append([]string{"query", "--file", publicLog, "--boot-time", publicBoot}, c.arguments...)...)
			if got.code != 0 {
				t.Fatalf("exit code %d: %s", got.code, got.stderr)
			}
			var starts []string
			for _, line := range strings.Split(got.stdout, "\n") {
				if strings.HasPrefix(line, "2026-02-24 ") {
					starts = append(starts, line[11:19])
				}
			}
			if !reflect.DeepEqual(starts, c.want) {
				t.Errorf("shown are %v, want %v", starts, c.want)
			}
		})
	}
}

func TestOutputForms(t *testing.T) {
	for _, form := range []string{"short", "json", "json-pretty", "json-seq", "cat"} {
		t.Run(form, func(t *testing.T) {
			got := crauctl(t, "query", "--file", publicLog, "--boot-time", publicBoot, "-n", "2", "-o", form)
			if got.code != 0 || got.stderr != "" {
				t.Fatalf("exit code %d, errors %q", got.code, got.stderr)
			}
			goldentest.Compare(t, "query/public."+form, got.stdout)
		})
	}
}

func TestFormsOfJSONHaveTheSameContent(t *testing.T) {
	arguments := []string{"query", "--file", publicLog, "--boot-time", publicBoot, "-o"}
	want := fromJSON(t, crauctl(t, append(arguments, "json-pretty")...).stdout)
	for form, separator := range map[string]string{"json": "", "json-seq": "\x1e"} {
		var got []any
		for _, line := range strings.SplitAfter(crauctl(t, append(arguments, form)...).stdout, "\n") {
			if line == "" {
				continue
			}
			text, ok := strings.CutPrefix(line, separator)
			if !ok {
				t.Fatalf("%s: no record separator before %q", form, line)
			}
			var one any
			if err := json.Unmarshal([]byte(text), &one); err != nil {
				t.Fatalf("%s: %v in %q", form, err, line)
			}
			got = append(got, one)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s differs from json-pretty", form)
		}
	}
}

// encode returns groups as a log, its metadata first.
func encode(groups []event.Group) []byte {
	log := event.AppendMetadata(nil, 1784800000, 0)
	for i := range groups {
		log = event.Append(log, &groups[i])
	}
	return log
}

// write puts a file into a directory of the test.
func write(t testing.TB, name string, content []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, content, 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// handshakes returns the hits of a recorded trace.
func handshakes(t testing.TB, name string) []event.Group {
	t.Helper()
	hits, err := tracetest.Hits(name)
	if err != nil {
		t.Fatal(err)
	}
	return hits
}

func TestRecordedHandshakesAreReadable(t *testing.T) {
	for _, name := range tracetest.Names() {
		t.Run(name, func(t *testing.T) {
			got := crauctl(t, "query", "--file", write(t, "audit.cborseq", encode(handshakes(t, name))))
			if got.code != 0 || got.stderr != "" {
				t.Fatalf("exit code %d, errors %q", got.code, got.stderr)
			}
			goldentest.Compare(t, "query/"+name+".short", got.stdout)
		})
	}
}

func compress(t testing.TB, content []byte) []byte {
	t.Helper()
	encoder, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer encoder.Close()
	return encoder.EncodeAll(content, nil)
}

func TestALogIsReadInEveryForm(t *testing.T) {
	plain := encode(handshakes(t, "gnutls-tls13-p256"))
	half := bytes.Index(plain, event.Append(nil, &handshakes(t, "gnutls-tls13-p256")[9]))
	skippable := append([]byte{0x55, 0x2a, 0x4d, 0x18, 3, 0, 0, 0}, "abc"...)
	want := crauctl(t, "query", "--file", write(t, "plain", plain)).stdout
	for name, content := range map[string][]byte{
		"plain":                           plain,
		"compressed":                      compress(t, plain),
		"in several frames":               append(compress(t, plain[:half]), compress(t, plain[half:])...),
		"with frames to be skipped":       append(append(bytes.Clone(skippable), compress(t, plain)...), skippable...),
		"with an entry in two frames":     append(compress(t, plain[:half+5]), compress(t, plain[half+5:])...),
		"in a segment of a store":         segment(t, plain),
		"in a segment with more after it": append(segment(t, plain[:half]), compress(t, plain[half:])...),
		"in segments of several stores":   append(segment(t, plain[:half]), segment(t, plain[half:])...),
	} {
		t.Run(name, func(t *testing.T) {
			got := crauctl(t, "query", "--file", write(t, "log", content))
			if got.code != 0 || got.stderr != "" {
				t.Errorf("exit code %d, errors %q", got.code, got.stderr)
			}
			if got.stdout != want {
				t.Errorf("got:\n%s\nwant:\n%s", got.stdout, want)
			}
		})
	}
}

func TestAPipeIsReadLikeAFile(t *testing.T) {
	plain := encode(handshakes(t, "openssl-tls12"))
	want := crauctl(t, "query", "--file", write(t, "log", plain)).stdout
	for name, content := range map[string][]byte{
		"plain": plain, "compressed": compress(t, plain), "a segment": segment(t, plain), "nothing": nil,
	} {
		t.Run(name, func(t *testing.T) {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			go func() {
				_, _ = w.Write(content)
				w.Close()
			}()
			got := crauctl(t, "query", "--file", fmt.Sprintf("/dev/fd/%d", r.Fd()))
			shown := want
			if content == nil {
				shown = ""
			}
			if got.code != 0 || got.stdout != shown {
				t.Errorf("exit code %d, errors %q, shown is:\n%s\nwant:\n%s", got.code, got.stderr, got.stdout, shown)
			}
		})
	}
}

func TestFilesAreReadOneAfterAnother(t *testing.T) {
	groups := handshakes(t, "gnutls-tls13-p256")
	want := crauctl(t, "query", "--file", write(t, "log", encode(groups))).stdout
	got := crauctl(t, "query",
		"--file", write(t, "log.1", encode(groups[:7])), "--file", write(t, "log.2", compress(t, encode(groups[7:]))))
	if got.code != 0 || got.stdout != want {
		t.Errorf("exit code %d, got:\n%s\nwant:\n%s", got.code, got.stdout, want)
	}
}

func TestTheReadablePartOfADamagedLogIsShown(t *testing.T) {
	groups := handshakes(t, "openssl-tls12")
	whole := encode(groups)
	last := event.Append(nil, &groups[len(groups)-1])
	shown := crauctl(t, "query", "--file", write(t, "log", encode(groups[:len(groups)-1]))).stdout
	for name, c := range map[string]struct {
		content []byte
		want    string // part of the error; FILE is the name, LAST the offset of the last entry
	}{
		"cut in an entry":      {whole[:len(whole)-3], "cannot read log FILE at byte LAST: the log ends inside an entry"},
		"garbage at its end":   {append(bytes.Clone(whole[:len(whole)-len(last)]), "\xff garbage"...), "cannot read log FILE at byte LAST: bad event group at byte 0"},
		"compressed, cut":      {compress(t, whole)[:100], "cannot decompress log FILE at byte"},
		"compressed, cut late": {append(compress(t, whole[:len(whole)-len(last)]), compress(t, last)[:20]...), "cannot decompress log FILE at byte LAST of its decompressed entries: the file ends inside a compressed frame"},
		"compressed garbage":   {append(compress(t, whole[:len(whole)-len(last)]), "\x28\xb5\x2f\xfd garbage"...), "cannot decompress log FILE at byte LAST of its decompressed entries"},
	} {
		t.Run(name, func(t *testing.T) {
			file := write(t, "damaged", c.content)
			got := crauctl(t, "query", "--file", file)
			if got.code != 1 {
				t.Errorf("exit code %d, want 1", got.code)
			}
			if want := strings.NewReplacer("FILE", file, "LAST", strconv.Itoa(len(whole)-len(last))).Replace(c.want); !strings.Contains(got.stderr, want) {
				t.Errorf("error is %q, want %q in it", got.stderr, want)
			}
			if name != "compressed, cut" && got.stdout != shown {
				t.Errorf("shown is:\n%s\nwant:\n%s", got.stdout, shown)
			}
		})
	}
}

func TestBadUsageIsRefusedInOneSentence(t *testing.T) {
	for name, c := range map[string]struct {
		arguments []string
		want      string
	}{
		"two kinds of log":           {[]string{"query", "--file", "a", "--directory", "b"}, "exclude each other"},
		"an unknown option":          {[]string{"query", "--colour"}, "unknown option --colour"},
		"an unknown command":         {[]string{"querry"}, `unknown command "querry"`},
		"an unknown format":          {[]string{"query", "--file", publicLog, "-o", "xml"}, `unknown output form "xml": there are short, json`},
		"a bad time":                 {[]string{"query", "--file", publicLog, "--since", "teatime"}, `cannot read --since: bad time "teatime"`},
		"since after until":          {[]string{"query", "--file", publicLog, "-S", "now", "-U", "-1h"}, "later than"},
		"a match without value":      {[]string{"query", "--file", publicLog, "tls::role"}, "KEY=VALUE"},
		"an unknown name of a value": {[]string{"query", "--file", publicLog, "tls::group=X25519MLKEM786"}, `did you mean "X25519MLKEM768"?`},
		"a bad context":              {[]string{"query", "--file", publicLog, "--context", "a b"}, "a context is named as"},
		"a bad number of lines":      {[]string{"query", "--file", publicLog, "-n", "-5"}, "must not be negative"},
		"a boot time in the future":  {[]string{"query", "--file", publicLog, "--boot-time", "99999999999999"}, "bad time of boot"},
		"following a file":           {[]string{"query", "--file", publicLog, "-f"}, "use --directory"},
		"a cursor of a file":         {[]string{"query", "--file", publicLog, "--after-cursor", "x"}, "use --directory"},
		"an array without end":       {[]string{"query", "--directory", "d", "-f", "-o", "json-pretty"}, "use -o json"},
		"following backwards":        {[]string{"query", "--directory", "d", "-f", "-r"}, "exclude each other"},
		"two cursors to begin after": {[]string{"query", "--directory", "d", "--after-cursor", "x", "--cursor-file", "y"}, "exclude each other"},
	} {
		t.Run(name, func(t *testing.T) {
			got := crauctl(t, c.arguments...)
			if got.code != 2 || got.stdout != "" {
				t.Errorf("exit code %d, output %q, want 2 and none", got.code, got.stdout)
			}
			if !strings.HasPrefix(got.stderr, "crauctl: ") || !strings.Contains(got.stderr, c.want) {
				t.Errorf("error is %q, want %q in it", got.stderr, c.want)
			}
		})
	}
}

func TestAMissingLogIsAFailure(t *testing.T) {
	for name, arguments := range map[string][]string{
		"a file":      {"query", "--file", "testdata/no-such-log"},
		"a directory": {"query", "--directory", "testdata/no-such-log"},
	} {
		t.Run(name, func(t *testing.T) {
			got := crauctl(t, arguments...)
			if got.code != 1 || !strings.Contains(got.stderr, "testdata/no-such-log") {
				t.Errorf("exit code %d, error %q, want 1 and the name", got.code, got.stderr)
			}
		})
	}
}

func TestALogWithoutReadPermissionHasItsOwnExitStatus(t *testing.T) {
	// sysfs does not let any user read a write-only file, not even root.
	const file = "/sys/bus/cpu/drivers_probe"
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o200 {
		t.Skipf("%s is not write-only: %v", file, err)
	}
	if got := crauctl(t, "query", "--file", file); got.code != 3 || !strings.Contains(got.stderr, file) {
		t.Errorf("exit code %d, error %q, want 3 and the name", got.code, got.stderr)
	}
}
