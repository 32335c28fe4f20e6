// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
)

// sealed seals the closed segments of a log.
func sealed(t testing.TB, dir string) string {
	t.Helper()
	w := openStore(t, dir)
	if err := w.Seal(context.Background(), func(s logstore.Sealed) {
		if s.Err != nil {
			t.Fatal(s.Err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// task is a thread that makes one operation after another, and reuses context ids.
type task struct {
	number uint64
	next   []event.Group // of the current operation
}

// id returns an id of the task. No context has the id 0: it is only a parent.
func (t *task) id(n uint64) (id event.ContextID) {
	binary.BigEndian.PutUint64(id[:], t.number)
	binary.BigEndian.PutUint64(id[8:], n+1)
	return id
}

// begin makes an operation with nested contexts. Each group contains the number of the
// operation.
func (t *task) begin(r *rand.Rand, operation int64) {
	add := func(id, parent event.ContextID, name string, data ...event.Event) {
		g := event.Group{Context: id, Executable: []byte("p"), Name: []byte(name)}
		if parent != (event.ContextID{}) {
			g.Events = append(g.Events, event.Event{Kind: event.NewContext, Parent: parent, Executable: g.Executable}, text("name", name))
		}
		g.Events = append(append(g.Events, word("test::operation", operation)), data...)
		t.next = append(t.next, g)
	}
	root := t.id(1 + r.Uint64N(3))
	if r.IntN(4) == 0 {
		root = t.id(4 + r.Uint64N(3)) // as its own parent, it must not have the id of a handshake
		parent := root
		if r.IntN(2) == 0 {
			parent = t.id(0)
		}
		add(root, parent, "pk::sign", word("pk::bits", int64(r.IntN(2000))))
		return
	}
	add(root, t.id(0), []string{"tls::handshake_client", "tls::handshake_server"}[r.IntN(2)])
	for n := range r.IntN(4) {
		inside := t.id(10 + uint64(n) + r.Uint64N(3)*10)
		add(inside, root, "tls::key_exchange", word("tls::group", int64(20+r.IntN(40))))
		if r.IntN(2) == 0 {
			add(t.id(50+uint64(n)), inside, "pk::derive", text("pk::algorithm", fmt.Sprint("algorithm", r.IntN(500))))
		}
		if r.IntN(3) == 0 {
			add(inside, event.ContextID{}, "tls::key_exchange", word("pk::static", 1))
		}
	}
	version := int64(772)
	if r.IntN(500) == 0 {
		version = 771
	}
	add(root, event.ContextID{}, "", word("tls::protocol_version", version))
}

// tasksLog writes a log of concurrent tasks, in chunks of all sizes. If slow is set, some
// tasks are slower than others.
func tasksLog(t testing.TB, r *rand.Rand, entries int, slow bool) (dir string) {
	t.Helper()
	dir = t.TempDir()
	w := openStore(t, dir)
	tasks := make([]task, 30)
	for i := range tasks {
		tasks[i].number = uint64(i) + 1
	}
	at, operation := 100*second, int64(0)
	for n := 0; n < entries; {
		var chunk []event.Group
		for range 1 + r.IntN(r.IntN(3000)+1) {
			faster := len(tasks)
			if slow {
				faster = 1 + r.IntN(faster)
			}
			task := &tasks[r.IntN(faster)]
			if len(task.next) == 0 {
				operation++
				task.begin(r, operation)
			}
			g := task.next[0]
			task.next = task.next[1:]
			at += r.Uint64N(1e6)
			g.Start, g.End = at, at
			chunk = append(chunk, g)
		}
		appendGroups(t, w, chunk...)
		if n += len(chunk); r.IntN(30) == 0 {
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

// plainGroup is a group as tests/readlog.py prints it.
type plainGroup struct {
	Group struct {
		Name   string
		Start  uint64
		Events []struct {
			Data *struct {
				Key   string
				Value any
			}
		}
	}
	Seq uint64
}

func (g *plainGroup) value(key string) any {
	for _, e := range g.Group.Events {
		if e.Data != nil && e.Data.Key == key {
			return e.Data.Value
		}
	}
	return nil
}

// operations returns the groups of a log by the numbers of their operations, read by
// tests/readlog.py as an independent decoder.
func operations(t testing.TB, dir string) map[float64][]plainGroup {
	t.Helper()
	var stderr bytes.Buffer
	command := exec.Command("python3", "../../../tests/readlog.py", dir)
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	all := map[float64][]plainGroup{}
	lines := bufio.NewScanner(bytes.NewReader(out))
	for lines.Scan() {
		var g plainGroup
		if err := json.Unmarshal(lines.Bytes(), &g); err != nil {
			t.Fatal(err)
		}
		if operation, ok := g.value("test::operation").(float64); ok {
			all[operation] = append(all[operation], g)
		}
	}
	return all
}

// shown returns how many groups of each operation are in the output in CBOR.
func shown(t testing.TB, output string) map[float64]int {
	t.Helper()
	counts := map[float64]int{}
	for rest := []byte(output); len(rest) > 0; {
		var g event.Group
		n, err := event.Decode(rest, &g)
		if err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
		for _, e := range g.Events {
			if string(e.Key) == "test::operation" {
				counts[float64(e.Value.Word)]++
			}
		}
	}
	return counts
}

// A search reads only a part of the log. An independent program reads all of it, and
// determines the expected operations.
func TestASearchFindsWholeOperations(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(5, seed))
	// Backwards, a search for the rest of an operation stops after a small part of the log without it.
	dirs := map[string]string{"": sealed(t, tasksLog(t, r, 40_000, true)), "-r": tasksLog(t, r, 15_000, false)}
	logs := map[string]map[float64][]plainGroup{}
	for order, dir := range dirs {
		if logs[order] = operations(t, dir); len(logs[order]) < 1000 {
			t.Fatalf("the log has %d operations", len(logs[order]))
		}
	}
	has := func(key string, value any) func(g *plainGroup) bool {
		return func(g *plainGroup) bool { return g.value(key) == value }
	}
	for name, c := range map[string]struct {
		arguments []string
		// wanted are conditions; for each, one of the operation's groups must meet it.
		wanted []func(g *plainGroup) bool
	}{
		"a rare value of a common key": {[]string{"protocol_version=TLS 1.2"}, []func(*plainGroup) bool{has("tls::protocol_version", 771.0)}},
		"a common value":               {[]string{"tls::protocol_version=772"}, []func(*plainGroup) bool{has("tls::protocol_version", 772.0)}},
		"two values of two groups":     {[]string{"tls::group=x25519", "tls::protocol_version=772"}, []func(*plainGroup) bool{has("tls::group", 29.0), has("tls::protocol_version", 772.0)}},
		"a text":                       {[]string{"pk::algorithm=algorithm7"}, []func(*plainGroup) bool{has("pk::algorithm", "algorithm7")}},
		"a standalone signature":       {[]string{"pk::bits=77"}, []func(*plainGroup) bool{has("pk::bits", 77.0)}},
		"a role stated by the name":    {[]string{"tls::role=client", "pk::algorithm=algorithm8"}, []func(*plainGroup) bool{func(g *plainGroup) bool { return g.Group.Name == "tls::handshake_client" }, has("pk::algorithm", "algorithm8")}},
		"nothing":                      {[]string{"tls::group=77"}, []func(*plainGroup) bool{has("tls::group", 77.0)}},
	} {
		for order, all := range logs {
			want := map[float64]int{}
			for operation, groups := range all {
				if !slices.ContainsFunc(c.wanted, func(wanted func(*plainGroup) bool) bool {
					return !slices.ContainsFunc(groups, func(g plainGroup) bool { return wanted(&g) })
				}) {
					want[operation] = len(groups)
				}
			}
			t.Run(strings.TrimSpace(name+" "+order), func(t *testing.T) {
				got := crauctl(t, slices.DeleteFunc(append([]string{"query", "--directory", dirs[order], "-o", "cbor", order}, c.arguments...), func(s string) bool { return s == "" })...)
				if counts := shown(t, got.stdout); got.code != 0 || !maps.Equal(counts, want) {
					for operation, n := range want {
						if counts[operation] != n {
							t.Errorf("%d groups of operation %v are shown, want %d", counts[operation], operation, n)
							break
						}
					}
					t.Errorf("exit code %d: %d operations are shown, want %d", got.code, len(counts), len(want))
				}
			})
		}
	}
}

// In a directory, a search reads only chunks that may match; files are read completely.
func TestASearchShowsTheSameAsReadingEverything(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(4, seed))
	logs := map[string]string{
		"busy":             sealed(t, tasksLog(t, r, 20_000, true)),
		"handshakes":       sealed(t, store(t, append(workload(t, "gnutls-tls13-p256", 250), workload(t, "openssl-tls13-x25519", 250)...))),
		"of version 0.1.0": "../../../tests/data/log-0.1.0/log",
	}
	for name, dir := range logs {
		for _, matches := range [][]string{
			{"tls::group=x25519"}, {"group=23", "group=24"}, {"tls::group=secp256r1", "tls::protocol_version=TLS 1.3"}, {"tls::group=77"},
			{"--context", "pk::sign"}, {"tls::role=server", "--since", "@1784801875.9"}, {"tls::group!=23", "tls::group=29", "--until", "@1784800140"},
			{"name=pk::derive"}, {"--since", "@1784800103"}, {"--since", "@1784800103.5", "--until", "@1784800104"}, {"--source", "wire"}, {"--unit", "x"}, {"pk::bits=256", "--executable", "openssl"},
		} {
			t.Run(name+" "+strings.Join(matches, " "), func(t *testing.T) {
				want := crauctl(t, slices.Concat([]string{"query", "-o", "json"}, files(t, dir), matches)...)
				got := crauctl(t, slices.Concat([]string{"query", "-o", "json", "--directory", dir}, matches)...)
				if got.stdout != want.stdout {
					t.Errorf("exit code %d, errors %q: %s", got.code, got.stderr, difference(got.stdout, want.stdout))
				}
			})
		}
	}
}

// Backwards, chunks that cannot match are skipped, too.
func TestASearchBackwardsIsTheSearchReversed(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(6, seed))
	dir := tasksLog(t, r, 120_000, false)
	w := openStore(t, dir)
	at := 10_000 * second
	w.clock.boot.Store(at)
	appendNotice(t, w, event.AppendLoss(nil, &event.Loss{Events: 3, Reason: "x", Start: at, End: at}))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, match := range []string{"pk::bits=1", "pk::bits=77", "pk::bits=1999", "tls::group=77"} {
		query := []string{"query", "--directory", dir, "-o", "json", match}
		forwards, backwards := crauctl(t, query...), crauctl(t, append(query, "-r")...)
		if backwards.stdout != reversed(forwards.stdout) || backwards.stderr != forwards.stderr {
			t.Errorf("%s: errors %q, want %q; %s", match, backwards.stderr, forwards.stderr, difference(backwards.stdout, reversed(forwards.stdout)))
		}
		found += strings.Count(forwards.stdout, "pk::sign")
		lines := strings.SplitAfter(forwards.stdout, "\n")
		if newest := crauctl(t, append(query, "-n", "1")...); found > 0 && !strings.HasSuffix(forwards.stdout, newest.stdout) {
			t.Errorf("%s: the newest is %q, all are %q", match, newest.stdout, lines)
		}
	}
	if found == 0 {
		t.Error("nothing was found")
	}
}
