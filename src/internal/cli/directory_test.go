// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"crypto-auditing/src/internal/cli"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
)

// workload returns recorded handshakes n times, each of another thread and a
// millisecond after the previous one.
func workload(t testing.TB, trace string, n int) []event.Group {
	t.Helper()
	hits := handshakes(t, trace)
	other := func(id event.ContextID, k int) event.ContextID {
		binary.BigEndian.PutUint32(id[4:], uint32(k))
		return id
	}
	var groups []event.Group
	for k := range n {
		for _, g := range hits {
			g.Context = other(g.Context, k)
			g.Start += uint64(k) * 1e6
			g.End += uint64(k) * 1e6
			g.Events = append([]event.Event(nil), g.Events...)
			if e := &g.Events[0]; e.Kind == event.NewContext {
				e.Parent = other(e.Parent, k)
			}
			groups = append(groups, g)
		}
	}
	return groups
}

// store writes groups to a log in chunks of 50, and rotates it from time to time. Each
// group contains the name of its program, like those of the agent.
func store(t testing.TB, groups []event.Group) string {
	t.Helper()
	dir := t.TempDir()
	w := openStore(t, dir)
	const chunk = 50
	programs := make(map[event.ContextID][]byte)
	for i := 0; i < len(groups); i += chunk {
		some := groups[i:min(i+chunk, len(groups))]
		for j := range some {
			if e := &some[j].Events[0]; e.Kind == event.NewContext {
				programs[some[j].Context] = e.Executable
			}
			some[j].Executable = programs[some[j].Context]
		}
		appendGroups(t, w, some...)
		if i/chunk%7 == 6 {
			if err := rotate(w.Writer); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestADirectoryShowsTheSameAsAFile(t *testing.T) {
	groups := append(workload(t, "gnutls-tls13-p256", 30), workload(t, "openssl-tls13-x25519", 30)...)
	dir := store(t, groups)
	file := write(t, "log", encode(groups))
	for name, arguments := range map[string][]string{
		"everything":       nil,
		"in JSON":          {"-o", "json-pretty"},
		"since":            {"--since", "@1784801875.8"},
		"until":            {"--until", "@1784801875.81"},
		"a program":        {"--executable", "openssl"},
		"no program":       {"--executable", "nobody"},
		"a value":          {"tls::role=server"},
		"the newest":       {"-n", "3"},
		"the newest first": {"-n", "3", "-r"},
		"all newest first": {"-r"},
		"zero":             {"-n", "0"},
		"newest by value":  {"-n", "4", "tls::role=server"},
	} {
		t.Run(name, func(t *testing.T) {
			want := crauctl(t, append([]string{"query", "--file", file}, arguments...)...)
			got := crauctl(t, append([]string{"query", "--directory", dir}, arguments...)...)
			if got.code != 0 || (got.stderr != "") != (name == "no program") {
				t.Errorf("exit code %d, errors %q", got.code, got.stderr)
			}
			if got.stdout != want.stdout {
				t.Errorf("got:\n%s\nwant:\n%s", got.stdout, want.stdout)
			}
		})
	}
}

func TestTheNewestOperationsAreTheEndOfTheOutput(t *testing.T) {
	for _, trace := range []string{"gnutls-tls13-p256", "openssl-tls13-x25519"} {
		dir := store(t, workload(t, trace, 1500))
		all := strings.SplitAfter(crauctl(t, "query", "--directory", dir, "-o", "json").stdout, "\n")
		for _, n := range []int{1, 10, 100, 1000, 5000} {
			t.Run(fmt.Sprint(trace, " ", n), func(t *testing.T) {
				got := crauctl(t, "query", "--directory", dir, "-o", "json", "-n", fmt.Sprint(n))
				if want := strings.Join(all[len(all)-1-n:], ""); got.stdout != want {
					t.Errorf("the newest %d are not the end of the output: %d bytes, want %d", n, len(got.stdout), len(want))
				}
			})
		}
	}
}

func TestADamagedSegmentIsReadAroundTheDamage(t *testing.T) {
	dir := store(t, workload(t, "openssl-tls13-x25519", 40))
	segments, err := filepath.Glob(filepath.Join(dir, "audit-*"))
	if err != nil || len(segments) < 2 {
		t.Fatalf("segments are %v (error %v), want several", segments, err)
	}
	content, err := os.ReadFile(segments[0])
	if err != nil {
		t.Fatal(err)
	}
	whole := crauctl(t, "query", "--directory", dir, "-o", "cat").stdout
	content[len(content)/2] ^= 0x55
	if err := os.WriteFile(segments[0], content, 0o644); err != nil {
		t.Fatal(err)
	}
	got := crauctl(t, "query", "--directory", dir, "-o", "cat")
	if got.code != 1 || !strings.Contains(got.stderr, segments[0]) || !strings.Contains(got.stderr, "offset") {
		t.Errorf("exit code %d, error %q, want 1, the segment and the offset", got.code, got.stderr)
	}
	if n, all := strings.Count(got.stdout, "\n"), strings.Count(whole, "\n"); n < all/2 || n >= all {
		t.Errorf("%d of %d operations are shown, want most", n, all)
	}
	file := crauctl(t, "query", "--file", segments[0], "-o", "cat")
	if file.code != 1 || !strings.Contains(file.stderr, segments[0]) || file.stdout == "" {
		t.Errorf("with only the segment, exit code %d, error %q, want 1 and the segment", file.code, file.stderr)
	}
}

// cursorOf returns the cursor that an output ends with.
func cursorOf(t *testing.T, output string) (cursor, rest string) {
	t.Helper()
	i := strings.LastIndex(output, "-- cursor: ")
	if i < 0 {
		t.Fatalf("no cursor ends the output:\n%s", output)
	}
	return strings.TrimSpace(output[i+len("-- cursor: "):]), output[:i]
}

func TestACursorContinuesWhereReadingStopped(t *testing.T) {
	dir := t.TempDir()
	w := openStore(t, dir)
	defer w.Close()
	first, second := workload(t, "openssl-tls12", 2), workload(t, "openssl-tls13-x25519", 2)
	appendGroups(t, w, first...)
	shown := crauctl(t, "query", "--directory", dir, "--show-cursor")
	cursor, output := cursorOf(t, shown.stdout)
	if want := crauctl(t, "query", "--file", write(t, "log", encode(first))).stdout; output != want {
		t.Errorf("shown is:\n%s\nwant:\n%s", output, want)
	}
	saved := filepath.Join(t.TempDir(), "cursor")
	if got := crauctl(t, "query", "--directory", dir, "--cursor-file", saved); got.code != 0 || got.stdout != output {
		t.Errorf("without a saved cursor, exit code %d, errors %q, shown is:\n%s\nwant:\n%s", got.code, got.stderr, got.stdout, output)
	}
	if got := crauctl(t, "query", "--directory", dir, "--cursor-file", saved); got.code != 0 || got.stdout != "" {
		t.Errorf("with nothing new, exit code %d, shown is:\n%s", got.code, got.stdout)
	}

	appendGroups(t, w, second...)
	want := crauctl(t, "query", "--file", write(t, "log", encode(second))).stdout
	for name, arguments := range map[string][]string{
		"given":              {"--after-cursor", cursor},
		"saved":              {"--cursor-file", saved},
		"given, the newest":  {"--after-cursor", cursor, "-n", "100"},
		"given, with a time": {"--after-cursor", cursor, "--since", "@1"},
	} {
		if got := crauctl(t, append([]string{"query", "--directory", dir}, arguments...)...); got.code != 0 || got.stdout != want {
			t.Errorf("%s: exit code %d, errors %q, shown is:\n%s\nwant:\n%s", name, got.code, got.stderr, got.stdout, want)
		}
	}
	if got := crauctl(t, "query", "--directory", dir, "--after-cursor", "newest"); got.code != 0 || got.stdout != "" {
		t.Errorf("after the newest, exit code %d, shown is:\n%s", got.code, got.stdout)
	}
	if got := crauctl(t, "query", "--directory", dir, "--after-cursor", "oldest", "-o", "cat"); strings.Count(got.stdout, "\n") != 12 {
		t.Errorf("after the oldest, exit code %d, shown is:\n%s", got.code, got.stdout)
	}
	machine := crauctl(t, "query", "--directory", dir, "--after-cursor", cursor, "--show-cursor", "-o", "json-pretty")
	fromJSON(t, machine.stdout)
	if !strings.HasPrefix(machine.stderr, "-- cursor: ") {
		t.Errorf("the cursor of JSON is not printed to stderr: %q", machine.stderr)
	}
}

func TestACursorOfAnotherLogIsRefused(t *testing.T) {
	first, other := store(t, workload(t, "openssl-tls12", 1)), store(t, workload(t, "openssl-tls12", 1))
	cursor, _ := cursorOf(t, crauctl(t, "query", "--directory", first, "--show-cursor").stdout)
	for name, c := range map[string]struct{ cursor, want string }{
		"of another store": {cursor, "cursor of another store"},
		"not a cursor":     {"yesterday", "invalid cursor"},
	} {
		t.Run(name, func(t *testing.T) {
			got := crauctl(t, "query", "--directory", other, "--after-cursor", c.cursor)
			if got.code != 1 || !strings.Contains(got.stderr, c.want) || !strings.Contains(got.stderr, "--after-cursor") {
				t.Errorf("exit code %d, error %q, want 1 and %q", got.code, got.stderr, c.want)
			}
		})
	}
}

// shared is an output that is read while it is written.
type shared struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (s *shared) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buffer.Write(b)
}

func (s *shared) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buffer.String()
}

// await waits until the output equals want.
func await(t *testing.T, what string, output *shared, want string) {
	t.Helper()
	for range 6000 {
		if output.String() == want {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%s, shown is:\n%s\nwant:\n%s", what, output.String(), want)
}

// followed runs crauctl, which follows a log, until stop is called; stop returns the
// exit code.
func followed(t *testing.T, now time.Time, output *shared, arguments ...string) (stop func() int) {
	t.Helper()
	var ignored, stderr bytes.Buffer
	e := environment(t, &ignored, &stderr)
	e.Stdout = output
	e.Now = func() time.Time { return now }
	ctx, cancel := context.WithCancel(context.Background())
	code := make(chan int, 1)
	go func() { code <- cli.Run(ctx, arguments, e) }()
	return func() int {
		cancel()
		c := <-code
		if stderr.Len() > 0 {
			t.Errorf("errors: %s", stderr.String())
		}
		return c
	}
}

func TestFollowingShowsAppendedEntries(t *testing.T) {
	dir := t.TempDir()
	w := openStore(t, dir)
	defer w.Close()
	first, second, third := workload(t, "openssl-tls12", 20), workload(t, "openssl-tls13-x25519", 1), workload(t, "gnutls-tls12", 1)
	appendGroups(t, w, first...)
	newest := crauctl(t, "query", "--file", write(t, "log", encode(first)), "-n", "10").stdout
	more := func(groups []event.Group) string {
		return crauctl(t, "query", "--file", write(t, "log", encode(groups))).stdout
	}

	var output shared
	late := time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)
	stop := followed(t, late, &output, "query", "--directory", dir, "-f")
	await(t, "at first", &output, newest)
	appendGroups(t, w, second...)
	await(t, "after an append", &output, newest+more(second))
	if err := rotate(w.Writer); err != nil {
		t.Fatal(err)
	}
	appendGroups(t, w, third...)
	await(t, "after a rotation", &output, newest+more(second)+more(third))
	if code := stop(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

func TestFollowingWaitsUntilAnOperationIsQuiet(t *testing.T) {
	dir := t.TempDir()
	w := openStore(t, dir)
	defer w.Close()
	groups := workload(t, "openssl-tls13-x25519", 1)
	appendGroups(t, w, groups[:3]...)
	begun := time.Unix(1784800000, int64(groups[0].Start))
	var output shared
	saved := filepath.Join(t.TempDir(), "cursor")
	stop := followed(t, begun, &output, "query", "--directory", dir, "-f", "--cursor-file", saved)
	appendGroups(t, w, groups[3:]...)
	// The clock stands at the beginning of the handshake.
	time.Sleep(50 * time.Millisecond)
	if output.String() != "" {
		t.Errorf("shown before the operation is quiet:\n%s", output.String())
	}
	if code := stop(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	if !strings.Contains(output.String(), "tls::handshake server") {
		t.Errorf("the operation is not shown at the end:\n%s", output.String())
	}
	if _, err := logstore.ParseCursor(strings.TrimSpace(string(mustRead(t, saved)))); err != nil {
		t.Error(err)
	}
}

func mustRead(t *testing.T, file string) []byte {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func BenchmarkNewestOfADirectory(b *testing.B) {
	dir := store(b, workload(b, "gnutls-tls13-p256", 5000))
	for b.Loop() {
		if got := crauctl(b, "query", "--directory", dir, "-n", "10"); got.code != 0 {
			b.Fatal(got.stderr)
		}
	}
}

func BenchmarkQueryOfADirectory(b *testing.B) {
	groups := workload(b, "gnutls-tls13-p256", 5000)
	events := 0
	for i := range groups {
		events += len(groups[i].Events)
	}
	dir := store(b, groups)
	for _, form := range []string{"short", "json"} {
		b.Run(form, func(b *testing.B) {
			for b.Loop() {
				if got := crauctl(b, "query", "--directory", dir, "-o", form); got.code != 0 {
					b.Fatal(got.stderr)
				}
			}
			b.ReportMetric(float64(events)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}
