// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"crypto-auditing/src/internal/event"
)

// bootOf is the id of a boot in these tests.
func bootOf(n byte) [16]byte { return [16]byte{0xb0, 15: n} }

// severalBoots writes a log of three boots. The agent was started twice in the second.
// Programs are first, second, again and third.
func severalBoots(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	since := int64(0)
	for i, run := range []struct {
		boot    byte
		program string
		reason  event.UnrecordedReason
		stops   bool
	}{
		{1, "first", "", true}, {2, "second", event.MachineStopped, false},
		{2, "again", event.AgentKilled, false}, {3, "third", event.MachineCrashed, true},
	} {
		// Each boot restarts its clock; only the order of the log shows which is later.
		if run.reason == event.MachineCrashed {
			// As after a crash: the sequences skip numbers for lost entries.
			if err := os.Remove(filepath.Join(dir, ".lock")); err != nil {
				t.Fatal(err)
			}
		}
		w := openStoreIn(t, dir, bootOf(run.boot))
		at := 100 * second
		appendNotice(t, w, event.AppendRecording(nil, &event.Recording{
			State: event.Started, Version: "0.2.0", BootID: bootOf(run.boot), Time: at, Since: since, Reason: run.reason,
		}))
		for n := range uint64(300) {
			appendGroups(t, w, operation(run.program, uint64(i)*1000+101+n))
		}
		if run.stops {
			end := (uint64(i)*1000 + 402) * second
			appendNotice(t, w, event.AppendRecording(nil, &event.Recording{
				State: event.Stopped, Version: "0.2.0", BootID: bootOf(run.boot), Time: end, StopReason: "requested",
			}))
		}
		since = epoch + int64((uint64(i)*1000+403)*second)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// programs returns the programs of the shown operations, each once, and the number of
// operations.
func programs(t *testing.T, arguments ...string) (shown []string, operations int) {
	t.Helper()
	got := crauctl(t, append([]string{"query"}, arguments...)...)
	if got.code != 0 {
		t.Fatalf("%v: exit code %d, errors %q", arguments, got.code, got.stderr)
	}
	for line := range strings.Lines(got.stdout) {
		if words := strings.Fields(line); len(words) > 3 && words[3] == "pk::sign" {
			program := strings.TrimSuffix(words[2], ":")
			operations++
			if !slices.Contains(shown, program) {
				shown = append(shown, program)
			}
		}
	}
	return shown, operations
}

func TestABootIsSelectedByNumberAndID(t *testing.T) {
	dir := severalBoots(t)
	id := bootOf(2)
	second := hex.EncodeToString(id[:])
	dashed := second[:8] + "-" + second[8:12] + "-" + second[12:16] + "-" + second[16:20] + "-" + second[20:]
	for _, c := range []struct {
		boot string
		want string
		n    int
	}{
		{"0", "[third]", 300}, {"-1", "[second again]", 600}, {"-2", "[first]", 300},
		{"1", "[first]", 300}, {"2", "[second again]", 600}, {"+3", "[third]", 300},
		{second, "[second again]", 600}, {dashed, "[second again]", 600},
		{second + "-1", "[first]", 300}, {second + "+1", "[third]", 300},
	} {
		for _, more := range [][]string{nil, {"-r"}, {"-n", "all"}, {"-g", "sign"}, {"-r", "name=pk::sign"}, {"name=pk::sign"}} {
			shown, n := programs(t, append([]string{"-D", dir, "-b", c.boot}, more...)...)
			if slices.Contains(more, "-r") {
				slices.Reverse(shown)
			}
			if fmt.Sprint(shown) != c.want || n != c.n {
				t.Errorf("-b %s %v shows %d operations of %v, want %d of %s", c.boot, more, n, shown, c.n, c.want)
			}
		}
	}
	if shown, n := programs(t, "-D", dir, "-b", "-1", "-n", "3"); fmt.Sprint(shown) != "[again]" || n != 3 {
		t.Errorf("the newest 3 of boot -1 are %d of %v", n, shown)
	}
	if shown, n := programs(t, "-D", dir, "-b", "2", "--executable", "second", "-r"); fmt.Sprint(shown) != "[second]" || n != 300 {
		t.Errorf("of one program of boot 2, %d operations of %v are shown", n, shown)
	}
	if shown, _ := programs(t, "-D", dir, "-r", "-b"); len(shown) != 4 {
		t.Errorf("operations since the boot of this machine are of %v", shown)
	}
}

func TestSelectingABootThatIsNotInTheLogFails(t *testing.T) {
	dir := severalBoots(t)
	for boot, want := range map[string]string{
		"-3":                    "boot -3 is not in the log: it holds 3 boots; see crauctl query --list-boots",
		"4":                     "boot 4 is not in the log",
		strings.Repeat("0", 32): "is not in the log",
	} {
		if got := crauctl(t, "query", "-D", dir, "-b", boot); got.code != 1 || got.stdout != "" || !strings.Contains(got.stderr, want) {
			t.Errorf("-b %s: exit code %d, output %q, errors %q", boot, got.code, got.stdout, got.stderr)
		}
	}
	for _, arguments := range [][]string{{"--boot=x"}, {"-b", strings.Repeat("z", 32)}, {"-b", "99999999999999999999"}, {"-f", "-b", "-1"}, {"--file", "x", "--list-boots"}, {"--file", "x", "-b", "1"}} {
		if len(arguments) == 2 || !strings.HasPrefix(arguments[0], "--file") {
			arguments = append(arguments, "-D", dir)
		}
		if got := crauctl(t, append([]string{"query"}, arguments...)...); got.code != 2 || got.stdout != "" {
			t.Errorf("%v: exit code %d, errors %q", arguments, got.code, got.stderr)
		}
	}
}

func TestTheBootsOfALogAreListed(t *testing.T) {
	dir := severalBoots(t)
	got := crauctl(t, "query", "-D", dir, "--list-boots")
	want := `BOOT  BOOT ID                           RECORDED FROM        TO
-2    b0000000000000000000000000000001  2026-07-23 09:48:20  2026-07-23 09:53:23
-1    b0000000000000000000000000000002  2026-07-23 09:48:20  2026-07-23 10:26:43
0     b0000000000000000000000000000003  2026-07-23 09:48:20  2026-07-23 10:43:22
`
	if got.code != 0 || got.stderr != "" || got.stdout != want {
		t.Errorf("exit code %d, errors %q, output\n%s", got.code, got.stderr, got.stdout)
	}
	got = crauctl(t, "query", "-D", dir, "--list-boots", "-o", "json")
	decoder := json.NewDecoder(strings.NewReader(got.stdout))
	for _, index := range []float64{-2, -1, 0} {
		var value map[string]any
		if err := decoder.Decode(&value); err != nil || value["index"] != index || value["boot_id"] == nil || value["first_entry"] != float64(epoch/1000+100e6) {
			t.Errorf("error %v, boot is %v, want index %v", err, value, index)
		}
	}
	if got := crauctl(t, "query", "-D", store(t, workload(t, "openssl-tls13-x25519", 1)), "--list-boots"); got.code != 0 || strings.Count(got.stdout, "\n") != 2 {
		t.Errorf("a log without notices: exit code %d, errors %q, output %q, want one boot", got.code, got.stderr, got.stdout)
	}
}

func TestABootWithARemovedStartHasNoKnownID(t *testing.T) {
	start := func(boot byte, at uint64, reason event.UnrecordedReason) []byte {
		r := event.Recording{State: event.Started, Version: "0.2.0", BootID: bootOf(boot), Time: at * second, Reason: reason}
		if reason != "" {
			r.Since = epoch + int64((at-10)*second)
		}
		return event.AppendRecording(nil, &r)
	}
	for name, c := range map[string]struct {
		parts []any
		want  string // the boot id
		shown string
	}{
		"that crashed": {
			[]any{start(1, 100, ""), operation("gone", 101), "rotate", operation("left", 102), "restart", start(2, 200, event.MachineCrashed), operation("later", 201)},
			"-", "[left]",
		},
		"in which the agent was started again": {
			[]any{start(1, 100, ""), operation("gone", 101), "rotate", operation("left", 102), "restart", start(1, 150, event.AgentKilled), operation("again", 151), "restart", start(2, 200, event.MachineCrashed), operation("later", 201)},
			"b0000000000000000000000000000001", "[left again]",
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := history(t, c.parts...)
			behead(t, dir, 1)
			got := crauctl(t, "query", "-D", dir, "--list-boots")
			lines := strings.Split(got.stdout, "\n")
			if got.code != 0 || len(lines) != 4 || strings.Fields(lines[1])[1] != c.want || strings.Fields(lines[2])[1] != "b0000000000000000000000000000002" {
				t.Errorf("exit code %d, errors %q, output\n%s", got.code, got.stderr, got.stdout)
			}
			for boot, want := range map[string]string{"1": c.shown, "-1": c.shown, "2": "[later]", "0": "[later]"} {
				if shown, _ := programs(t, "-D", dir, "-b", boot); fmt.Sprint(shown) != want {
					t.Errorf("-b %s shows %v, want %s", boot, shown, want)
				}
			}
			first := "b0000000000000000000000000000001"
			if got := crauctl(t, "query", "-D", dir, "-b", first); c.want == "-" && (got.code != 1 || !strings.Contains(got.stderr, "of which the oldest has no known id")) {
				t.Errorf("-b %s: exit code %d, errors %q", first, got.code, got.stderr)
			}
		})
	}
}

func TestABootWithADamagedStartIsFoundByItsStop(t *testing.T) {
	dir := severalBoots(t)
	segments, err := filepath.Glob(filepath.Join(dir, "audit-*"))
	if err != nil || len(segments) != 4 {
		t.Fatalf("segments are %v, error %v", segments, err)
	}
	log := mustRead(t, segments[3])
	// The second chunk has the notice of the start.
	magic := log[:4] // of the frame at the beginning of a chunk
	second := 4 + bytes.Index(log[4:], magic)
	third := second + 4 + bytes.Index(log[second+4:], magic)
	damaged := bytes.Clone(log)
	damaged[third-3] ^= 0xff
	if err := os.WriteFile(segments[3], damaged, 0o640); err != nil {
		t.Fatal(err)
	}
	for boot, want := range map[string]string{"0": "300 third", "-1": "300 second 300 again"} {
		got := crauctl(t, "query", "-q", "-D", dir, "-b", boot)
		counts := ""
		for _, program := range []string{"first", "second", "again", "third"} {
			if n := strings.Count(got.stdout, program+": pk::sign"); n > 0 {
				counts += fmt.Sprintf(" %d %s", n, program)
			}
		}
		if counts != " "+want || !strings.Contains(got.stderr, "a boot may be missing") {
			t.Errorf("-b %s: exit code %d, errors %q, operations%s, want %s", boot, got.code, got.stderr, counts, want)
		}
	}
}

func TestBootsComplete(t *testing.T) {
	dir := severalBoots(t)
	got := crauctl(t, "__complete", "query", "-D", dir, "-b", "")
	want := "0\tb0000000000000000000000000000003, from 2026-07-23 09:48:20\n-1\tb0000000000000000000000000000002, "
	if got.code != 0 || !strings.HasPrefix(got.stdout, want) {
		t.Errorf("exit code %d, completions %q", got.code, got.stdout)
	}
	if got := crauctl(t, "__complete", "query", "-D", filepath.Join(dir, "none"), "-b", ""); got.code != 0 || got.stdout != ":4\n" {
		t.Errorf("of a missing log: exit code %d, completions %q, errors %q", got.code, got.stdout, got.stderr)
	}
}
