// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"os"
	"path/filepath"
	"testing"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
)

// clock is a clock that stands still: booted at 1784800000 s.
type clock struct{ boot uint64 }

func (c clock) Now() logstore.Moment {
	return logstore.Moment{Boot: c.boot, Offset: 1784800000e9}
}

// openStore opens a store for writing, as the agent does.
func openStore(t testing.TB, dir string) *logstore.Writer {
	t.Helper()
	w, err := logstore.Open(dir, logstore.Options{
		EntryLen: event.Len,
		Clock:    clock{1},
		Metadata: func(now logstore.Moment) []byte { return event.AppendMetadata(nil, now.Offset/1e9, now.Boot) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// appendGroups commits groups as one chunk.
func appendGroups(t testing.TB, w *logstore.Writer, groups ...event.Group) {
	t.Helper()
	b := logstore.Batch{First: groups[0].Start}
	for i := range groups {
		g := &groups[i]
		b.Entries = event.Append(b.Entries, g)
		b.Count++
		b.Events += uint32(len(g.Events))
		b.First, b.Last = min(b.First, g.Start), max(b.Last, g.End)
		for j := range g.Events {
			e := &g.Events[j]
			if e.Kind == event.NewContext {
				b.Terms = append(b.Terms, logstore.TermHash(logstore.Executable, e.Executable))
			} else {
				b.Terms = append(b.Terms, logstore.TermHash(logstore.Key, e.Key))
			}
		}
		if len(g.Executable) > 0 {
			b.Terms = append(b.Terms, logstore.TermHash(logstore.Executable, g.Executable))
		}
	}
	if _, err := w.Append(b); err != nil {
		t.Fatal(err)
	}
}

// segment returns the bytes of a segment that holds the entries of a log.
func segment(t testing.TB, log []byte) []byte {
	t.Helper()
	dir := t.TempDir()
	w := openStore(t, dir)
	var groups []event.Group
	for len(log) > 0 {
		var g event.Group
		n, err := event.Decode(log, &g)
		if err != nil {
			t.Fatal(err)
		}
		log = log[n:]
		if !g.IsMetadata() {
			groups = append(groups, g)
		}
	}
	appendGroups(t, w, groups[:len(groups)/2]...)
	appendGroups(t, w, groups[len(groups)/2:]...)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "audit-*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("segments are %v (error %v), want one", files, err)
	}
	content, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	return content
}
