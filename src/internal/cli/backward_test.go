// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"crypto-auditing/src/internal/cli"
	"crypto-auditing/src/internal/event"
)

// tangle writes a log with all uses of contexts: reopened, nested across pages and
// segments, without a beginning; with notices in between.
func tangle(t testing.TB, r *rand.Rand, entries int) (dir string) {
	t.Helper()
	dir = t.TempDir()
	w := openStore(t, dir)
	names := []string{"tls::handshake", "tls::key_exchange", "tls::sign", "pk::sign", "pk::derive", "x::unknown"}
	at := 100 * second
	var latest []uint64
	id := func() (id event.ContextID) {
		n := r.Uint64N(1 << 40)
		if len(latest) > 0 && r.IntN(8) > 0 {
			n = latest[len(latest)-1-r.IntN(min(len(latest), 1<<r.IntN(12)))]
		}
		latest = append(latest, n)
		binary.BigEndian.PutUint64(id[:], n)
		return id
	}
	for n := 0; n < entries; {
		var chunk []event.Group
		for range 1 + r.IntN(400) {
			at += r.Uint64N(20e6)
			g := event.Group{Context: id(), Start: at - r.Uint64N(50e6), Executable: []byte("p")}
			g.End = g.Start + r.Uint64N(10e6)
			if r.IntN(3) > 0 {
				e := event.Event{Kind: event.NewContext, Parent: id(), Executable: []byte("p")}
				if r.IntN(3) == 0 {
					e.Parent = g.Context
				}
				g.Events = append(g.Events, e)
			}
			if len(g.Events) == 0 || r.IntN(2) == 0 {
				g.Events = append(g.Events, text("name", names[r.IntN(len(names))]))
			}
			if r.IntN(2) == 0 {
				g.Events = append(g.Events, word("tls::group", int64(23+r.IntN(7))))
			}
			chunk = append(chunk, g)
		}
		appendGroups(t, w, chunk...)
		n += len(chunk)
		switch r.IntN(12) {
		case 0:
			appendNotice(t, w, event.AppendLoss(nil, &event.Loss{Events: at, Reason: "x", Start: at - r.Uint64N(1e9), End: at}))
		case 1:
			appendNotice(t, w, started(at/second, (at-r.Uint64N(9e9))/second, event.AgentKilled))
		case 2:
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

// reversed returns lines in reverse order.
func reversed(text string) string {
	lines := strings.SplitAfter(text, "\n")
	lines = lines[:len(lines)-1]
	slices.Reverse(lines)
	return strings.Join(lines, "")
}

// files returns the options that read the segments of a log as files.
func files(t testing.TB, dir string) (options []string) {
	t.Helper()
	segments, err := filepath.Glob(filepath.Join(dir, "audit-*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, segment := range segments {
		options = append(options, "--file", segment)
	}
	return options
}

// Backwards, a log is read in pages, and a page is decoded without the earlier ones.
func TestReverseIsTheQueryReversed(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(1, seed))
	logs := map[string]string{
		"tangled":            tangle(t, r, 12000),
		"tangled, one page":  tangle(t, r, 1000),
		"handshakes":         store(t, append(workload(t, "gnutls-tls13-p256", 250), workload(t, "openssl-tls13-x25519", 250)...)),
		"with notices":       history(t, started(5, 0, ""), operation("one", 10), stopped(20), "restart", started(30, 20, event.AgentStopped), operation("two", 40), "rotate", operation("three", 50)),
		"of version 0.1.0":   "../../../tests/data/log-0.1.0/log",
		"damaged":            store(t, workload(t, "gnutls-tls13-p256", 300)),
		"without its oldest": store(t, workload(t, "openssl-tls12", 60)),
		"without matches":    store(t, workload(t, "gnutls-tls12", 10)),
	}
	damage(t, logs["damaged"])
	behead(t, logs["without its oldest"], 1)
	for name, dir := range logs {
		selections := [][]string{nil}
		if name == "tangled" || name == "handshakes" {
			selections = append(selections, []string{"tls::group=x25519"}, []string{"--since", "@1784800200"}, []string{"--executable", "openssl", "--until", "@1784801876"})
		}
		for _, selection := range selections {
			t.Run(fmt.Sprint(name, " ", strings.Join(selection, " ")), func(t *testing.T) {
				query := append([]string{"query", "--directory", dir, "-o", "json"}, selection...)
				forwards, backwards := crauctl(t, query...), crauctl(t, append(query, "-r")...)
				if selection != nil && strings.Contains(selection[0], "=") {
					// With reused ids, a search in a directory cannot find where an operation ends.
					forwards.stdout = crauctl(t, slices.Concat([]string{"query", "-o", "json"}, files(t, dir), selection)...).stdout
				}
				if backwards.stdout != reversed(forwards.stdout) || backwards.stderr != forwards.stderr || backwards.code != forwards.code {
					t.Errorf("backwards, exit code %d, errors %q, want %d, %q; %s", backwards.code, backwards.stderr,
						forwards.code, forwards.stderr, difference(backwards.stdout, reversed(forwards.stdout)))
				}
				for _, n := range []string{"0", "7", "300"} {
					// Files are read from their beginning.
					held := crauctl(t, slices.Concat([]string{"query", "-o", "json", "-n", n}, files(t, dir), selection)...)
					if newest := crauctl(t, append(query, "-n", n)...); newest.stdout != held.stdout {
						t.Errorf("the newest %s: %s", n, difference(newest.stdout, held.stdout))
					}
					if both := crauctl(t, append(query, "-n", n, "-r")...); both.stdout != reversed(held.stdout) {
						t.Errorf("backwards, the newest %s: %s", n, difference(both.stdout, reversed(held.stdout)))
					}
				}
			})
		}
	}
}

// difference returns the first lines in which texts differ.
func difference(got, want string) string {
	a, b := strings.SplitAfter(got, "\n"), strings.SplitAfter(want, "\n")
	for i := range max(len(a), len(b)) {
		if i >= len(a) || i >= len(b) || a[i] != b[i] {
			return fmt.Sprintf("%d lines, want %d, from line %d on:\n%s\nwant:\n%s", len(a), len(b), i+1,
				strings.Join(a[min(i, len(a)):min(i+3, len(a))], ""), strings.Join(b[min(i, len(b)):min(i+3, len(b))], ""))
		}
	}
	return ""
}

func TestReverseShowsTheEntriesOfTheLog(t *testing.T) {
	dir := store(t, workload(t, "openssl-tls13-x25519", 400))
	log := crauctl(t, "query", "--directory", dir, "-o", "cbor", "-r", "-n", "50")
	want := crauctl(t, "query", "--directory", dir, "-o", "json", "-r", "-n", "50")
	got := crauctl(t, "query", "--file", write(t, "log", []byte(log.stdout)), "-o", "json")
	// The CBOR is not ordered by time: each operation is written as a whole.
	sorted := func(text string) string {
		list := strings.SplitAfter(text, "\n")
		slices.Sort(list)
		return strings.Join(list, "")
	}
	if d := difference(sorted(got.stdout), sorted(want.stdout)); d != "" {
		t.Errorf("the CBOR shows %s", d)
	}
}

func TestTheCursorOfTheNewestIsTheEndOfTheLog(t *testing.T) {
	dir := store(t, workload(t, "gnutls-tls13-p256", 900))
	_, want := lastLine(crauctl(t, "query", "--directory", dir, "--show-cursor").stdout)
	for _, options := range [][]string{{"-r"}, {"-n", "3"}, {"-n", "100000", "-r"}} {
		if _, got := lastLine(crauctl(t, append([]string{"query", "--directory", dir, "--show-cursor"}, options...)...).stdout); got != want {
			t.Errorf("%v: the cursor is %q, want %q", options, got, want)
		}
	}
}

func lastLine(text string) (before, last string) {
	i := strings.LastIndexByte(strings.TrimSuffix(text, "\n"), '\n')
	return text[:i+1], text[i+1:]
}

// closing is an output that is closed after the first write.
type closing struct{ written bytes.Buffer }

func (c *closing) Write(b []byte) (int, error) {
	if c.written.Len() > 0 {
		return 0, &os.PathError{Op: "write", Path: "|1", Err: syscall.EPIPE}
	}
	return c.written.Write(b)
}

func TestReverseEndsWhenItsOutputIsClosed(t *testing.T) {
	dir := store(t, workload(t, "gnutls-tls13-p256", 1500))
	damage(t, dir) // the oldest segment, which is never reached
	var stdout closing
	var stderr bytes.Buffer
	e := environment(t, nil, &stderr)
	e.Stdout = &stdout
	if code := cli.Run(context.Background(), []string{"query", "--directory", dir, "-r", "-o", "json"}, e); code != 0 || stderr.Len() > 0 {
		t.Errorf("exit code %d, errors %q: more of the log was read", code, &stderr)
	}
	first, _, _ := strings.Cut(stdout.written.String(), "\n")
	if !json.Valid([]byte(first)) {
		t.Errorf("shown is %q", stdout.written.String())
	}
}

// heap is an output that measures the memory in use from time to time.
type heap struct {
	written int
	most    uint64
}

func (h *heap) Write(b []byte) (int, error) {
	if h.written += len(b); h.written > 1<<20 {
		h.written = 0
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		h.most = max(h.most, m.HeapAlloc)
	}
	return len(b), nil
}

func TestMemoryOfReverseDoesNotGrowWithTheLog(t *testing.T) {
	const limit = 48 << 20 // all of it takes twice as much
	dir := store(t, workload(t, "gnutls-tls13-p256", 4000))
	var before runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var stdout heap
	e := environment(t, nil, new(bytes.Buffer))
	e.Stdout = &stdout
	if code := cli.Run(context.Background(), []string{"query", "--directory", dir, "-r", "-o", "json"}, e); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	if held := int64(stdout.most) - int64(before.HeapAlloc); stdout.most == 0 || held > limit {
		t.Errorf("%d bytes are held, want at most %d", held, limit)
	}
}
