// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"context"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"crypto-auditing/src/internal/entry"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
)

// clock is a clock that stands still at the time of the last event. The machine was
// booted at 1784800000 s.
type clock struct{ boot atomic.Uint64 }

func (c *clock) Now() logstore.Moment {
	return logstore.Moment{Boot: c.boot.Load(), Offset: 1784800000e9}
}

// writer writes a store, as the agent does.
type writer struct {
	*logstore.Writer
	clock *clock
}

func openStore(t testing.TB, dir string) *writer {
	t.Helper()
	return openStoreIn(t, dir, [16]byte{})
}

// openStoreIn opens a store in the boot with this id; zero is the current boot of this machine.
func openStoreIn(t testing.TB, dir string, boot [16]byte) *writer {
	t.Helper()
	c := new(clock)
	w, err := logstore.Open(context.Background(), dir, logstore.Options{
		EntryLen: event.Len,
		Terms:    entry.Terms(),
		Clock:    c,
		BootID:   boot,
		Metadata: func(now logstore.Moment) []byte { return event.AppendMetadata(nil, now.Offset/1e9, now.Boot) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return &writer{w, c}
}

// appendGroups commits groups as one chunk.
func appendGroups(t testing.TB, w *writer, groups ...event.Group) {
	t.Helper()
	b := logstore.Batch{First: groups[0].Start, Values: []uint64{}}
	for i := range groups {
		g := &groups[i]
		b.Entries = event.Append(b.Entries, g)
		b.End()
		b.Events += uint32(len(g.Events))
		b.First, b.Last = min(b.First, g.Start), max(b.Last, g.End)
		for j := range g.Events {
			if e := &g.Events[j]; e.Kind == event.NewContext {
				b.Terms = append(b.Terms, logstore.TermHash(logstore.Executable, e.Executable))
			}
		}
		b.Terms, b.Values = entry.AppendTerms(b.Terms, g), entry.AppendValues(b.Values, g)
	}
	w.clock.boot.Store(b.Last)
	if _, err := w.Append(b); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Flush(); err != nil {
		t.Fatal(err)
	}
}

// segment returns the bytes of a segment that contains the entries of a log.
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

// rotate begins a segment and waits until it is durable.
func rotate(w *logstore.Writer) error {
	rotated := make(chan error, 1)
	w.Rotate(func(_ string, err error) { rotated <- err })
	return <-rotated
}
