// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"crypto-auditing/src/internal/event"
)

// damage changes a byte in the middle of the first segment of a store.
func damage(t *testing.T, dir string) (segment string) {
	t.Helper()
	segments, err := filepath.Glob(filepath.Join(dir, "audit-*"))
	if err != nil || len(segments) == 0 {
		t.Fatalf("segments are %v (error %v)", segments, err)
	}
	content := mustRead(t, segments[0])
	content[len(content)/2] ^= 0x55
	if err := os.WriteFile(segments[0], content, 0o644); err != nil {
		t.Fatal(err)
	}
	return filepath.Base(segments[0])
}

func TestVerifyDistinguishesIntactAndDamagedLogs(t *testing.T) {
	groups := workload(t, "openssl-tls13-x25519", 40)
	dir := store(t, groups)
	got := crauctl(t, "verify", "--directory", dir)
	if got.code != 0 || got.stderr != "" || !strings.Contains(got.stdout, "all is as it should be") {
		t.Errorf("of an intact log, exit code %d, errors %q, output %q", got.code, got.stderr, got.stdout)
	}
	var report struct {
		Whole bool
		Hash  string
		Break *struct {
			Segment string
			Kind    string
		}
	}
	got = crauctl(t, "verify", "--directory", dir, "-o", "json")
	if err := json.Unmarshal([]byte(got.stdout), &report); err != nil || got.code != 0 || !report.Whole || len(report.Hash) != 64 {
		t.Errorf("of an intact log, exit code %d, error %v, output %s", got.code, err, got.stdout)
	}

	segment := damage(t, dir)
	got = crauctl(t, "verify", "--directory", dir)
	if got.code != 1 || !strings.Contains(got.stderr, segment) || !strings.Contains(got.stderr, "offset") || strings.Contains(got.stdout, "all is") {
		t.Errorf("of a damaged log, exit code %d, errors %q, output %q", got.code, got.stderr, got.stdout)
	}
	got = crauctl(t, "verify", "--directory", dir, "-o", "json")
	if err := json.Unmarshal([]byte(got.stdout), &report); err != nil || got.code != 1 || report.Whole || report.Break == nil || report.Break.Segment != segment {
		t.Errorf("of a damaged log, exit code %d, error %v, output %s", got.code, err, got.stdout)
	}
}

func TestLogInfoCountsTheContentOfTheLog(t *testing.T) {
	groups := workload(t, "openssl-tls13-x25519", 40)
	dir := store(t, groups)
	events := 0
	for i := range groups {
		events += len(groups[i].Events)
	}
	got := crauctl(t, "log-info", "--directory", dir, "-o", "json")
	if got.code != 0 || got.stderr != "" {
		t.Fatalf("exit code %d, errors %q", got.code, got.stderr)
	}
	var segments, counted, entries int
	var bytes int64
	for line := range strings.Lines(got.stdout) {
		var s struct {
			Segment string
			Entries int
			Events  int
			Bytes   int64
			Start   float64
		}
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			t.Fatal(err)
		}
		if s.Segment == "" {
			continue // the object of the notices
		}
		info, err := os.Stat(filepath.Join(dir, s.Segment))
		if err != nil || info.Size() != s.Bytes {
			t.Errorf("segment %s has %d bytes, stat reports %v (error %v)", s.Segment, s.Bytes, info, err)
		}
		if s.Start < 1784800000 || s.Start > 1784801877 {
			t.Errorf("segment %s begins at %f", s.Segment, s.Start)
		}
		segments, counted, entries, bytes = segments+1, counted+s.Events, entries+s.Entries, bytes+s.Bytes
	}
	// Each segment begins with a metadata entry, whose elements do not count as events.
	if counted != events || entries != len(groups)+segments {
		t.Errorf("%d segments with %d entries and %d events, want %d and %d besides the metadata", segments, entries, counted, len(groups), events)
	}
	text := crauctl(t, "log-info", "--directory", dir)
	if lines := strings.Count(text.stdout, "\n"); text.code != 0 || lines != segments+2 {
		t.Errorf("exit code %d, %d lines for %d segments:\n%s", text.code, lines, segments, text.stdout)
	}
}

func TestCommandsAboutALogRequireALog(t *testing.T) {
	for name, arguments := range map[string][]string{
		"an unknown format":           {"log-info", "--directory", "x", "-o", "xml"},
		"an extra argument":           {"verify", "--directory", "x", "y"},
		"an unknown format of verify": {"verify", "--directory", "x", "-o", "short-json"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := crauctl(t, arguments...); got.code != 2 || got.stdout != "" {
				t.Errorf("exit code %d, output %q, want 2 and none", got.code, got.stdout)
			}
		})
	}
	for _, command := range []string{"verify", "log-info"} {
		got := crauctl(t, command, "--directory", "testdata/no-such-log")
		if got.code != 1 || !strings.Contains(got.stderr, "testdata/no-such-log") {
			t.Errorf("%s: exit code %d, errors %q, want 1 and the name", command, got.code, got.stderr)
		}
	}
}

func TestATornEndIsReportedAndIsNotDamage(t *testing.T) {
	dir := t.TempDir()
	w := openStore(t, dir)
	groups := workload(t, "openssl-tls12", 1)
	appendGroups(t, w, groups...)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	segments, err := filepath.Glob(filepath.Join(dir, "audit-*"))
	if err != nil || len(segments) != 1 {
		t.Fatalf("segments are %v (error %v)", segments, err)
	}
	content := mustRead(t, segments[0])
	if err := os.WriteFile(segments[0], append(content, content[:100]...), 0o644); err != nil {
		t.Fatal(err)
	}
	// The writer does not touch the torn end, and begins another segment.
	w = openStore(t, dir)
	more := workload(t, "openssl-tls13-x25519", 1)
	appendGroups(t, w, more...)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	got := crauctl(t, "verify", "--directory", dir)
	if got.code != 0 || !strings.Contains(got.stdout, "torn end at offset") {
		t.Errorf("exit code %d, errors %q, output %q", got.code, got.stderr, got.stdout)
	}
	shown := crauctl(t, "query", "--directory", dir)
	want := crauctl(t, "query", "--file", write(t, "log", encode(append(append([]event.Group(nil), groups...), more...)))).stdout
	if shown.code != 0 || shown.stdout != want || !strings.Contains(shown.stderr, "torn") {
		t.Errorf("exit code %d, errors %q, shown is:\n%s\nwant:\n%s", shown.code, shown.stderr, shown.stdout, want)
	}
}

func TestReportsHaveAllForms(t *testing.T) {
	dir := store(t, workload(t, "gnutls-tls13-p256", 2))
	for _, command := range []string{"verify", "log-info"} {
		pretty := crauctl(t, command, "--directory", dir, "-o", "json-pretty")
		lines := crauctl(t, command, "--directory", dir, "-o", "json")
		if !strings.Contains(pretty.stdout, "\n  \"") {
			t.Errorf("%s: the JSON is not indented: %s", command, pretty.stdout)
		}
		var compacted bytes.Buffer
		for d := json.NewDecoder(strings.NewReader(pretty.stdout)); d.More(); {
			var value json.RawMessage
			if err := errors.Join(d.Decode(&value), json.Compact(&compacted, value)); err != nil {
				t.Fatal(err)
			}
			compacted.WriteByte('\n')
		}
		if compacted.String() != lines.stdout {
			t.Errorf("%s: json-pretty is %s, want what json is: %s", command, pretty.stdout, lines.stdout)
		}
	}
}

func TestVerifyContinuesAfterACursor(t *testing.T) {
	groups := workload(t, "gnutls-tls13-p256", 60)
	dir := t.TempDir()
	w := openStore(t, dir)
	type end struct {
		Cursor, Hash string
		Whole        bool
		Entries      uint64
		First        uint64 `json:"first_sequence"`
	}
	check := func(arguments ...string) (e end, code int) {
		got := crauctl(t, append([]string{"verify", "--directory", dir, "-o", "json"}, arguments...)...)
		if got.stdout != "" {
			if err := json.Unmarshal([]byte(got.stdout), &e); err != nil {
				t.Fatalf("%v: %s", err, got.stdout)
			}
		}
		return e, got.code
	}
	third := len(groups) / 3
	appendGroups(t, w, groups[:third]...)
	if err := rotate(w.Writer); err != nil {
		t.Fatal(err)
	}
	for i := third; i < 2*third; i += 10 {
		appendGroups(t, w, groups[i:i+10]...)
	}
	before, code := check()
	if code != 0 || !before.Whole {
		t.Fatalf("the log is not intact: %+v", before)
	}
	appendGroups(t, w, groups[2*third:]...)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	// After sealing, the position is inside a chunk.
	for name, prepare := range map[string]func(){"as it was written": func() {}, "sealed": func() { sealed(t, dir) }} {
		t.Run(name, func(t *testing.T) {
			prepare()
			all, _ := check()
			after, code := check("--after-cursor", before.Cursor, "--hash", before.Hash)
			if code != 0 || !after.Whole || after.Hash != all.Hash || after.Cursor != all.Cursor || after.Entries >= all.Entries || after.Entries < uint64(len(groups)-2*third) {
				t.Errorf("continued: %+v, exit code %d; all: %+v", after, code, all)
			}
			if _, code := check("--after-cursor", before.Cursor, "--hash", strings.Repeat("0", 63)+"1"); code != 1 {
				t.Errorf("another hash: exit code %d", code)
			}
			beyond := all.Cursor[:len(all.Cursor)-6] + "ffffff"
			if _, code := check("--after-cursor", beyond); code != 1 {
				t.Errorf("a cursor beyond the end: exit code %d", code)
			}
			if _, code := check("--after-cursor", "x"); code == 0 {
				t.Error("no cursor is accepted")
			}
		})
	}
	// Entries before the cursor are not read again.
	damage(t, dir)
	if _, code := check(); code != 1 {
		t.Errorf("a damaged log: exit code %d", code)
	}
	if after, code := check("--after-cursor", before.Cursor, "--hash", before.Hash); code != 0 || !after.Whole {
		t.Errorf("after the damage: %+v, exit code %d", after, code)
	}
}
