// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"crypto-auditing/src/internal/cli"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
)

const second = uint64(time.Second)

// epoch is the time of boot of the logs in these tests.
const epoch = 1784800000 * int64(time.Second)

// operation returns the group of an operation of a program; at is in seconds since boot.
func operation(program string, at uint64) event.Group {
	id := event.ContextID{0xff, byte(at >> 16), byte(at >> 8), byte(at)}
	return event.Group{Context: id, Start: at * second, End: at * second, Events: []event.Event{
		{Kind: event.NewContext, Executable: []byte(program)}, text("name", "pk::sign"),
	}}
}

// started returns the notice about a start of the recording. at is the start and since the
// beginning of the time without recording, in seconds since boot; since is 0 for a first start.
func started(at, since uint64, reason event.UnrecordedReason) []byte {
	r := event.Recording{State: event.Started, Version: "0.2.0", Time: at * second, Reason: reason}
	if since != 0 {
		r.Since = epoch + int64(since*second)
	}
	return event.AppendRecording(nil, &r)
}

func stopped(at uint64) []byte {
	return event.AppendRecording(nil, &event.Recording{State: event.Stopped, Version: "0.2.0", Time: at * second, StopReason: "requested"})
}

// removal returns the notice about entries that alice removed.
func removal(at, first, last uint64) []byte {
	return event.AppendRemoval(nil, &event.Removal{
		First: first, Last: last, Segments: 2, Bytes: 4096, User: "alice", UID: 1000, Policy: "vacuum --max-size=1G", Time: at * second,
	})
}

// entries encodes a log from groups and encoded notices.
func entries(parts ...any) []byte {
	log := event.AppendMetadata(nil, epoch/int64(time.Second), 0)
	for _, part := range parts {
		switch part := part.(type) {
		case event.Group:
			log = event.Append(log, &part)
		case []byte:
			log = append(log, part...)
		}
	}
	return log
}

// gaps returns a log with all kinds of notices about missing entries.
func gaps() []byte {
	return entries(
		started(5, 0, ""),
		operation("one", 10),
		stopped(20),
		started(30, 20, event.AgentStopped),
		operation("two", 40),
		event.AppendLibraryUnrecorded(nil, event.LibraryReplaced, "libssl.so.3", []byte{0xab, 0xcd}, 45*second, 46*second),
		started(60, 50, event.AgentKilled),
		removal(65, 1, 516),
		operation("three", 70),
		event.AppendMissing(nil, &event.Missing{Entries: 42, Reason: "corrupt"}),
		operation("four", 80),
		started(90000, 90, event.MachineCrashed),
	)
}

func TestMissingEntriesAreShownInOrder(t *testing.T) {
	log := write(t, "log", gaps())
	want := []string{
		"2026-07-23 09:46:50 one: pk::sign",
		"— not recorded from 2026-07-23 09:47:00 to 09:47:10 (agent was stopped) —",
		"2026-07-23 09:47:20 two: pk::sign",
		"— libssl.so.3 was not recorded from 2026-07-23 09:47:25 to 09:47:26 (file was replaced) —",
		"— not recorded from 2026-07-23 09:47:30 to 09:47:40 (agent was killed) —",
		"— entries 1–516 were removed (by alice, vacuum --max-size=1G, at 2026-07-23 09:47:45) —",
		"2026-07-23 09:47:50 three: pk::sign",
		"— 42 entries missing (damaged) —",
		"2026-07-23 09:48:00 four: pk::sign",
		"— not recorded from 2026-07-23 09:48:10 to 2026-07-24 10:46:40 (machine crashed) —",
	}
	reversed := make([]string, len(want))
	for i := range want {
		reversed[len(want)-1-i] = want[i]
	}
	for name, c := range map[string]struct {
		arguments []string
		want      []string
	}{
		"all":                  {nil, want},
		"newest first":         {[]string{"-r"}, reversed},
		"of any program":       {[]string{"--executable", "one"}, append(want[:2:2], want[3], want[4], want[5], want[7], want[9])},
		"since":                {[]string{"--since", "@1784800046.5"}, want[4:]},
		"since, in a gap":      {[]string{"--since", "@1784800055"}, want[4:]},
		"until, in a gap":      {[]string{"--until", "@1784800055"}, append(want[:5:5], want[7])},
		"the newest":           {[]string{"-n", "1"}, want[7:]},
		"the newest, reversed": {[]string{"-n", "1", "-r"}, reversed[:3]},
		"two":                  {[]string{"-n", "2"}, want[3:]},
		"zero":                 {[]string{"-n", "0"}, want[9:]},
	} {
		t.Run(name, func(t *testing.T) {
			got := crauctl(t, append([]string{"query", "--file", log}, c.arguments...)...)
			if got.code != 0 || got.stderr != "" || got.stdout != strings.Join(c.want, "\n")+"\n" {
				t.Errorf("exit code %d, errors %q, shown is:\n%s\nwant:\n%s", got.code, got.stderr, got.stdout, strings.Join(c.want, "\n"))
			}
		})
	}
}

func TestNoticesInJSON(t *testing.T) {
	log := write(t, "log", gaps())
	want := []string{
		`{"notice":"unrecorded","start":1784800020.0,"end":1784800030.0,"reason":"agent-stopped"}`,
		`{"notice":"unrecorded","start":1784800045.0,"end":1784800046.0,"reason":"library-replaced","library":"libssl.so.3","build_id":"abcd"}`,
		`{"notice":"unrecorded","start":1784800050.0,"end":1784800060.0,"reason":"agent-killed"}`,
		`{"notice":"removal","start":1784800065.0,"end":1784800065.0,"first_sequence":1,"last_sequence":516,"segments":2,"bytes":4096,"user":"alice","uid":1000,"policy":"vacuum --max-size=1G"}`,
		`{"notice":"missing","start":1784800070.0,"end":1784800070.0,"entries":42,"reason":"corrupt"}`,
		`{"notice":"unrecorded","start":1784800090.0,"end":1784890000.0,"reason":"machine-crashed"}`,
	}
	for form, separator := range map[string]string{"json": "", "json-seq": "\x1e"} {
		got := crauctl(t, "query", "--file", log, "-o", form)
		var notices []string
		contexts := 0
		for line := range strings.Lines(got.stdout) {
			line = strings.TrimSuffix(strings.TrimPrefix(line, separator), "\n")
			if !json.Valid([]byte(line)) {
				t.Errorf("%s: %q is not JSON", form, line)
			}
			if strings.HasPrefix(line, `{"notice":`) {
				notices = append(notices, line)
			} else {
				contexts++
			}
		}
		if got.code != 0 || got.stderr != "" || contexts != 4 || strings.Join(notices, "\n") != strings.Join(want, "\n") {
			t.Errorf("%s: exit code %d, errors %q, %d contexts, notices:\n%s\nwant 4 and:\n%s", form, got.code, got.stderr, contexts,
				strings.Join(notices, "\n"), strings.Join(want, "\n"))
		}
	}
	pretty := crauctl(t, "query", "--file", log, "-o", "json-pretty")
	if n := len(fromJSON(t, pretty.stdout)); pretty.code != 0 || n != 4 || strings.Count(pretty.stderr, "crauctl: ") != 6 {
		t.Errorf("json-pretty: exit code %d, %d contexts, errors:\n%s", pretty.code, n, pretty.stderr)
	}
	binary := crauctl(t, "query", "--file", log, "-o", "cbor")
	want2 := crauctl(t, "query", "--file", log).stdout
	if got := crauctl(t, "query", "--file", write(t, "second", []byte(binary.stdout))).stdout; binary.code != 0 || got != want2 {
		t.Errorf("a query of the CBOR shows:\n%s\nwant:\n%s", got, want2)
	}
}

// A loss can begin before an operation and end after it.
func TestTheNewestOperationDoesNotHideALaterLoss(t *testing.T) {
	lost := func(start, end uint64) []byte {
		return event.AppendLoss(nil, &event.Loss{Events: start, Reason: "ring-full", Place: "kernel", Start: start * second, End: end * second})
	}
	log := write(t, "log", entries(
		operation("one", 10), lost(11, 12), operation("two", 13), lost(5, 100), operation("three", 20), lost(15, 16), lost(19, 30), lost(40, 41),
	))
	got := crauctl(t, "query", "--file", log, "-n", "1")
	var shown []string
	for line := range strings.Lines(got.stdout) {
		shown = append(shown, strings.Fields(line)[1])
	}
	// Numbers of events, and the time of the operation.
	if want := "5 15 19 09:47:00 40"; strings.Join(shown, " ") != want {
		t.Errorf("shown are %v, want %s:\n%s", shown, want, got.stdout)
	}
}

// appendNotice commits a notice.
func appendNotice(t testing.TB, w *writer, notice []byte) {
	t.Helper()
	var g event.Group
	if _, err := event.Decode(notice, &g); err != nil {
		t.Fatal(err)
	}
	w.clock.boot.Store(max(g.End, w.clock.boot.Load()))
	if _, err := w.Append(logstore.Batch{Entries: notice, Ends: []uint32{uint32(len(notice))}, First: g.Start, Last: g.End, Notice: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Flush(); err != nil {
		t.Fatal(err)
	}
}

// history writes a log. The parts are groups, notices, and the words "rotate" and
// "restart", for a segment of another run of the agent.
func history(t testing.TB, parts ...any) (dir string) {
	t.Helper()
	dir = t.TempDir()
	w := openStore(t, dir)
	for _, part := range parts {
		switch part := part.(type) {
		case event.Group:
			appendGroups(t, w, part)
		case []byte:
			appendNotice(t, w, part)
		case string:
			if part == "rotate" {
				if err := rotate(w.Writer); err != nil {
					t.Fatal(err)
				}
				continue
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			boot := w.clock.boot.Load()
			w = openStore(t, dir)
			w.clock.boot.Store(boot)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// behead removes the oldest segments of a log.
func behead(t testing.TB, dir string, n int) {
	t.Helper()
	segments, err := filepath.Glob(filepath.Join(dir, "audit-*"))
	if err != nil || len(segments) <= n {
		t.Fatalf("segments are %v (error %v), want more than %d", segments, err, n)
	}
	for _, segment := range segments[:n] {
		if err := os.Remove(segment); err != nil {
			t.Fatal(err)
		}
	}
}

func TestVerifyAccountsForTheBeginningOfALog(t *testing.T) {
	begin := []any{started(5, 0, ""), operation("one", 10), "rotate"}
	for name, c := range map[string]struct {
		parts []any
		drop  int
		code  int
		want  string
	}{
		"whole": {
			append(begin, operation("two", 20)), 0, 0, "",
		},
		"removed and recorded": {
			append(begin, operation("two", 20), removal(30, 1, 3)), 1, 0,
			"entries 1–3 were removed (by alice, vacuum --max-size=1G, at 2026-07-23 09:47:10)\n",
		},
		"removed, and the record of earlier removals is gone": {
			append(begin, operation("two", 20), removal(30, 2, 3)), 1, 0,
			"entries 1–3 were removed (by alice, ",
		},
		"removed with no record, the agent stopped later": {
			append(begin, operation("two", 20), stopped(30)), 1, 1,
			"entries 1–3 are missing, and no record of their removal exists\n",
		},
		"removed with no record, up to a start": {
			[]any{started(5, 0, ""), stopped(6), "restart", started(7, 6, event.AgentStopped), operation("two", 20)}, 1, 1,
			"entries 1–3 are missing, and no record of their removal exists\n",
		},
		"more removed than is on record": {
			append(begin, operation("two", 20), removal(30, 1, 3), "rotate", removal(30, 1, 3), operation("three", 40)), 2, 1,
			"entries 1–3 were removed (by alice, vacuum --max-size=1G, at 2026-07-23 09:47:10); entries 4–6 are missing, and no record of their removal exists\n",
		},
		"removed by version 0.1.0": {
			[]any{operation("one", 10), "rotate", operation("two", 20)}, 1, 0,
			"entries 1–2 are missing, and no record of their removal exists: version 0.1.0 kept none\n",
		},
		"removed by version 0.1.0, upgraded later": {
			[]any{operation("one", 10), "rotate", operation("two", 20), "restart", started(30, 20, event.AgentStopped), stopped(40)}, 1, 0,
			"entries 1–2 are missing, and no record of their removal exists: version 0.1.0 kept none\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := history(t, c.parts...)
			if c.drop > 0 {
				behead(t, dir, c.drop)
			}
			got := crauctl(t, "verify", "--directory", dir)
			if got.code != c.code || !strings.Contains(got.stdout, c.want) || (c.code == 0) != strings.Contains(got.stdout, "all is as it should be") {
				t.Errorf("exit code %d, errors %q, output:\n%s\nwant %d and %q", got.code, got.stderr, got.stdout, c.code, c.want)
			}
			if c.want == "" && strings.Contains(got.stdout, "entries 1–") {
				t.Errorf("a beginning is missing:\n%s", got.stdout)
			}
			var report struct {
				Whole  bool
				Before uint64 `json:"last_sequence_before"`
			}
			asJSON := crauctl(t, "verify", "--directory", dir, "-o", "json")
			if err := json.Unmarshal([]byte(asJSON.stdout), &report); err != nil || report.Whole != (c.code == 0) || (report.Before > 0) != (c.drop > 0) {
				t.Errorf("in JSON (error %v): %s", err, asJSON.stdout)
			}
		})
	}
}

func TestQueryReportsRemovedEntries(t *testing.T) {
	dir := history(t, started(5, 0, ""), operation("one", 10), "rotate", operation("two", 20), operation("three", 25), removal(30, 1, 3))
	behead(t, dir, 1)
	const note = "crauctl: entries 1–3 were removed (by alice, vacuum --max-size=1G, at 2026-07-23 09:47:10)\n"
	for name, c := range map[string]struct {
		arguments []string
		want      string
	}{
		"no options":               {nil, note},
		"in JSON":                  {[]string{"-o", "json"}, note},
		"since before the oldest":  {[]string{"--since", "@1784800009"}, note},
		"since later":              {[]string{"--since", "@1784800021"}, ""},
		"until, before the record": {[]string{"--until", "@1784800022"}, note},
		"fewer than all":           {[]string{"-n", "2"}, ""},
		"more than all":            {[]string{"-n", "3"}, note},
		"more than match":          {[]string{"-n", "1", "--executable", "one"}, "-- No operations --\n" + note + "crauctl: no operation of the log matches the options\n"},
		"after the oldest":         {[]string{"--after-cursor", "oldest"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := crauctl(t, append([]string{"query", "--directory", dir}, c.arguments...)...)
			if got.code != 0 || got.stderr != c.want {
				t.Errorf("exit code %d, errors %q, want %q", got.code, got.stderr, c.want)
			}
		})
	}
}

func TestFollowingReportsRemovedEntries(t *testing.T) {
	dir := history(t, started(5, 0, ""), operation("one", 10), "rotate", operation("two", 20), removal(30, 1, 3))
	behead(t, dir, 1)
	var stdout bytes.Buffer
	var stderr shared
	var ignored bytes.Buffer
	e := environment(t, &stdout, &ignored)
	e.Stderr = &stderr
	ctx, cancel := context.WithCancel(t.Context())
	code := make(chan int, 1)
	go func() { code <- cli.Run(ctx, []string{"query", "-f", "--directory", dir, "--since", "@1784800001"}, e) }()
	await(t, "of a log that is followed", &stderr, "crauctl: entries 1–3 were removed (by alice, vacuum --max-size=1G, at 2026-07-23 09:47:10)\n")
	cancel()
	if c := <-code; c != 0 {
		t.Errorf("exit code %d", c)
	}
}

// A time without recording is logged at its end, which may be after the requested time.
func TestATimeWithoutRecordingIsShownIfUntilIsInIt(t *testing.T) {
	dir := history(t, operation("one", 10), "restart", started(7200, 10, event.MachineStopped), operation("two", 7300), "rotate", operation("three", 7400))
	got := crauctl(t, "query", "--directory", dir, "--until", "@1784801000", "-o", "cat")
	if want := "pk::sign\n— not recorded from 2026-07-23 09:46:50 to 11:46:40 (machine was stopped) —\n"; got.code != 0 || got.stdout != want {
		t.Errorf("exit code %d, errors %q, shown is:\n%s\nwant:\n%s", got.code, got.stderr, got.stdout, want)
	}
}

func TestLogInfoAndVerifyListTimesWithoutRecording(t *testing.T) {
	parts := []any{started(5, 0, ""), operation("one", 10)}
	for at := uint64(20); at < 60; at++ {
		parts = append(parts, started(at+1, at, event.AgentKilled))
	}
	parts = append(parts, removal(100, 1, 5), event.AppendLoss(nil, &event.Loss{Events: 7, Reason: "ring-full", Start: 101 * second, End: 101 * second}))
	dir := history(t, parts...)
	for _, command := range []string{"log-info", "verify"} {
		got := crauctl(t, command, "--directory", dir)
		for _, want := range []string{
			"\n40 times without recording, 1 removal, 1 record of lost events; the newest:\n",
			"\n  not recorded from 2026-07-23 09:47:39 to 09:47:40 (agent was killed)\n  entries 1–5 were removed (by alice, ",
			"\n  7 events lost (ring-full) at 2026-07-23 09:48:21\n",
		} {
			if got.code != 0 || !strings.Contains(got.stdout, want) {
				t.Errorf("%s: exit code %d, errors %q, want %q in:\n%s", command, got.code, got.stderr, want, got.stdout)
			}
		}
		if n := strings.Count(got.stdout, "not recorded from"); n != 18 {
			t.Errorf("%s: %d times are listed, want the newest 18", command, n)
		}
		asJSON := crauctl(t, command, "--directory", dir, "-o", "json")
		var found struct {
			Notices struct {
				Counts map[string]int
				Newest []struct{ Notice string }
			}
		}
		lines := strings.Split(strings.TrimSpace(asJSON.stdout), "\n")
		if err := json.Unmarshal([]byte(lines[len(lines)-1]), &found); err != nil {
			t.Fatal(err)
		}
		if n := found.Notices; n.Counts["unrecorded"] != 40 || n.Counts["removal"] != 1 || n.Counts["loss"] != 1 || len(n.Newest) != 20 || n.Newest[19].Notice != "loss" {
			t.Errorf("%s: the JSON counts %v and lists %v", command, n.Counts, n.Newest)
		}
	}
}

func TestADirectoryWithoutALogIsAnError(t *testing.T) {
	dir := t.TempDir()
	for _, arguments := range [][]string{{"verify"}, {"log-info"}, {"query"}, {"query", "-n", "1"}, {"query", "-f"}, {"monitor"}} {
		got := crauctl(t, append(arguments, "--directory", dir)...)
		want := "crauctl: cannot read log: " + dir + " is not a log directory: it has no segments (audit-*.cborseq.zst)\n"
		if got.code != 1 || got.stdout != "" || got.stderr != want {
			t.Errorf("%v: exit code %d, errors %q, output %q", arguments, got.code, got.stderr, got.stdout)
		}
	}
}

func TestFollowingShowsNoticesInOrder(t *testing.T) {
	dir := t.TempDir()
	w := openStore(t, dir)
	defer w.Close()
	var output shared
	// The clock stands still, so that no operation becomes quiet.
	stop := followed(t, time.Unix(0, epoch+10*int64(second)), &output, "monitor", "--directory", dir, "-o", "cat")
	loss := func(at uint64) []byte {
		return event.AppendLoss(nil, &event.Loss{Events: at, Reason: "ring-full", Start: at * second, End: at * second})
	}
	// Notices that are appended before monitor has opened the log are not shown.
	for range 1000 {
		if output.String() != "" {
			break
		}
		appendNotice(t, w, loss(1))
		time.Sleep(10 * time.Millisecond)
	}
	appendGroups(t, w, operation("one", 10))
	appendNotice(t, w, started(12, 11, event.AgentKilled))
	appendNotice(t, w, loss(5))
	const early = "— 5 events lost (ring-full) at 2026-07-23 09:46:45 —\n"
	for range 1000 {
		if strings.Contains(output.String(), early) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if got := output.String(); !strings.HasSuffix(got, early) {
		t.Errorf("before the operation is over, shown is:\n%s", got)
	}
	if code := stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	want := early + "pk::sign\n— not recorded from 2026-07-23 09:46:51 to 09:46:52 (agent was killed) —\n"
	if got := output.String(); !strings.HasSuffix(got, want) {
		t.Errorf("shown is:\n%s\nwant at its end:\n%s", got, want)
	}
}

func TestTheNewestLinesKeepCurrentNotices(t *testing.T) {
	r := rand.New(rand.NewPCG(20, uint64(time.Now().UnixNano())))
	type shownEntry struct {
		start, end uint64
		notice     bool
	}
	var all []shownEntry
	var parts []any
	for at := uint64(1); at < 1500; at++ {
		if r.IntN(3) > 0 {
			parts = append(parts, operation(fmt.Sprintf("p%d", at), at))
			all = append(all, shownEntry{at, at, false})
		}
		if r.IntN(3) == 0 {
			end := at + uint64(r.IntN(1<<r.IntN(12)))
			parts = append(parts, event.AppendLoss(nil, &event.Loss{Events: at, Reason: "x", Start: at * second, End: end * second}))
			all = append(all, shownEntry{at, end, true})
		}
	}
	log := write(t, "log", entries(parts...))
	for _, n := range []int{0, 1, 2, 10, 100, 10000} {
		floor, operations := uint64(0), 0
		for i := len(all) - 1; i >= 0; i-- {
			if operations += map[bool]int{false: 1}[all[i].notice]; operations > n {
				floor = all[i].start
				break
			}
		}
		var want strings.Builder
		for _, c := range all {
			switch {
			case c.notice && c.end >= floor:
				fmt.Fprintf(&want, "loss %d\n", c.start)
			case !c.notice && c.start > floor:
				fmt.Fprintf(&want, "p%d\n", c.start)
			}
		}
		got := crauctl(t, "query", "--file", log, "-o", "json", "-n", strconv.Itoa(n))
		var shown strings.Builder
		for line := range strings.Lines(got.stdout) {
			var o struct {
				Executable, Notice string
				Lost               uint64 `json:"events_lost"`
			}
			if err := json.Unmarshal([]byte(line), &o); err != nil {
				t.Fatal(err)
			}
			if o.Notice != "" {
				fmt.Fprintf(&shown, "loss %d\n", o.Lost)
			} else {
				fmt.Fprintln(&shown, o.Executable)
			}
		}
		if got.code != 0 || shown.String() != want.String() {
			t.Errorf("-n %d: exit code %d, errors %q, shown is:\n%swant:\n%s", n, got.code, got.stderr, &shown, &want)
		}
	}
}

func TestAnUnreadableSegmentIsNotReportedAsRemoved(t *testing.T) {
	dir := history(t, started(5, 0, ""), operation("one", 10), "rotate", operation("two", 20), stopped(30))
	segments, err := filepath.Glob(filepath.Join(dir, "audit-*"))
	if err != nil || len(segments) != 2 {
		t.Fatalf("segments are %v (error %v)", segments, err)
	}
	if err := errors.Join(os.Remove(segments[0]), os.Symlink(filepath.Base(segments[0]), segments[0])); err != nil {
		t.Fatal(err)
	}
	got := crauctl(t, "verify", "--directory", dir)
	if got.code != 1 || !strings.Contains(got.stderr, "symbolic link") || strings.Contains(got.stdout+got.stderr, "removal") {
		t.Errorf("exit code %d, errors %q, output:\n%s", got.code, got.stderr, got.stdout)
	}
}
