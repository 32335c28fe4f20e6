// SPDX-License-Identifier: Apache-2.0

package logstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"crypto-auditing/src/internal/logstore/queue"
	"crypto-auditing/src/internal/logstore/segment"
)

// lossOptions returns options that write losses as entries, and collect them.
func lossOptions(lost *[]Lost) Options {
	opts := testOptions(newTestClock())
	opts.Lost = func(l Lost) []byte {
		*lost = append(*lost, l)
		return testEntry(nil, fmt.Sprintf("lost %d to %d", l.First, l.Last))
	}
	return opts
}

func mustTest(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// displacements are actions of another program on the active segment or its directory.
func displacements() map[string]func(t *testing.T, dir, name string) {
	return map[string]func(t *testing.T, dir, name string){
		"deleted": func(t *testing.T, dir, name string) { mustTest(t, os.Remove(filepath.Join(dir, name))) },
		"moved": func(t *testing.T, dir, name string) {
			mustTest(t, os.Rename(filepath.Join(dir, name), filepath.Join(t.TempDir(), name)))
		},
		"replaced by a copy": func(t *testing.T, dir, name string) {
			path := filepath.Join(dir, name)
			data, err := os.ReadFile(path)
			mustTest(t, err)
			mustTest(t, os.WriteFile(path+".copy", data, 0o600))
			mustTest(t, os.Rename(path+".copy", path))
		},
		"directory removed": func(t *testing.T, dir, _ string) { mustTest(t, os.RemoveAll(dir)) },
		"directory moved": func(t *testing.T, dir, _ string) {
			mustTest(t, os.Rename(dir, filepath.Join(t.TempDir(), "log")))
		},
		"directory replaced by an empty one": func(t *testing.T, dir, _ string) {
			mustTest(t, os.Rename(dir, filepath.Join(t.TempDir(), "log")))
			mustTest(t, os.Mkdir(dir, 0o750))
		},
	}
}

func TestWriterDetectsThatItsSegmentIsGone(t *testing.T) {
	for name, displace := range displacements() {
		for _, idle := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, idle %v", name, idle), func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "log")
				var lost []Lost
				w := openTest(t, dir, lossOptions(&lost))
				b := batchOf(w.opts.Clock.Now(), "a", "b")
				b.Hits = 5
				p, err := w.Append(b)
				mustTest(t, err)
				before := flushTest(t, w)
				displace(t, dir, p.Segment)

				var want []string
				if !idle {
					// This is queued when the loss is found.
					_, err := w.Append(batchOf(w.opts.Clock.Now(), "c", "d"))
					mustTest(t, err)
					want = []string{"c", "d"}
				}
				after := flushTest(t, w)
				if len(lost) != 1 {
					t.Fatalf("%d losses were reported: %+v", len(lost), lost)
				}
				l := lost[0]
				if l.Reason != queue.SegmentDeleted || l.First != 1 || l.Last != before.Sequence || l.Events != 2 || l.Hits != 5 ||
					l.Segment != p.Segment || l.Directory != strings.HasPrefix(name, "directory") {
					t.Errorf("the loss is %+v", l)
				}
				r := readerTest(t, dir, Query{})
				if newest, err := r.Newest(); err != nil || newest != after {
					t.Errorf("flush returned %v, the newest entry of the directory is %v, %v", after, newest, err)
				}
				if missing, err := r.Seek(before); err != nil || missing != 0 {
					t.Errorf("a reader that had read everything misses %d, %v", missing, err)
				}
				got, errs := readAll(r)
				wantTexts(t, got, errs, append([]string{fmt.Sprintf("lost 1 to %d", before.Sequence)}, want...)...)

				// This writer continues, and so does the next one.
				appendTest(t, w, "e")
				mustTest(t, w.Close())
				reopened := openTest(t, dir, lossOptions(&lost))
				appendTest(t, reopened, "f")
				if len(lost) != 1 || reopened.store != w.store && name != "replaced by a copy" {
					t.Errorf("after reopening: %d losses, store %x, was %x", len(lost), reopened.store, w.store)
				}
				if !strings.Contains(name, "copy") {
					got, errs = readAll(readerTest(t, dir, Query{}))
					wantTexts(t, got, errs, append(append([]string{fmt.Sprintf("lost 1 to %d", before.Sequence)}, want...), "e", "f")...)
				}
			})
		}
	}
}

func TestRotationDetectsThatItsSegmentIsGone(t *testing.T) {
	dir := t.TempDir()
	var lost []Lost
	w := openTest(t, dir, lossOptions(&lost))
	p := appendTest(t, w, "a")
	mustTest(t, os.Remove(filepath.Join(dir, p.Segment)))
	_, err := w.Append(batchOf(w.opts.Clock.Now(), "b"))
	mustTest(t, err)
	rotated := make(chan struct{})
	w.Rotate(func(name string, err error) {
		defer close(rotated)
		if err != nil {
			return
		}
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Errorf("rotation succeeded: %v", err)
		}
	})
	<-rotated
	appendTest(t, w, "c")
	got, errs := readAll(readerTest(t, dir, Query{}))
	wantTexts(t, got, errs, "lost 1 to 2", "b", "c")
	rotateTest(t, w)
}

func TestHeartbeatDetectsThatTheSegmentOfAnIdleWriterIsGone(t *testing.T) {
	dir := t.TempDir()
	var lost []Lost
	opts := lossOptions(&lost)
	opts.Heartbeat = time.Millisecond
	w := openTest(t, dir, opts)
	p := appendTest(t, w, "a")
	recordTest(t, w)
	mustTest(t, os.Remove(filepath.Join(dir, p.Segment)))
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		if list, err := segment.List(dir); err != nil {
			t.Fatal(err)
		} else if len(list) == 1 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("no segment was begun")
		}
	}
}

func TestCheckDetectsThatTheSegmentIsGone(t *testing.T) {
	dir := t.TempDir()
	var lost []Lost
	w := openTest(t, dir, lossOptions(&lost))
	p := appendTest(t, w, "a")
	mustTest(t, os.Remove(filepath.Join(dir, p.Segment)))
	w.Check(t.Context())
	if s := w.Status().Segment; s == p.Segment {
		t.Errorf("the active segment is still %s", s)
	}
}

func TestFlushFailsUntilTheDirectoryCanBeCreated(t *testing.T) {
	parent := filepath.Join(t.TempDir(), "parent")
	mustTest(t, os.Mkdir(parent, 0o700))
	dir := filepath.Join(parent, "log")
	var lost []Lost
	w := openTest(t, dir, lossOptions(&lost))
	appendTest(t, w, "a")
	mustTest(t, os.RemoveAll(parent))
	mustTest(t, os.WriteFile(parent, nil, 0o600))
	_, err := w.Append(batchOf(w.opts.Clock.Now(), "b"))
	mustTest(t, err)
	for range 3 {
		if c, err := w.Flush(); err == nil || !strings.Contains(err.Error(), dir) {
			t.Fatalf("flush returned %v, %v", c, err)
		}
	}
	if w.Status().Err == nil {
		t.Error("the status has no error")
	}
	mustTest(t, os.Remove(parent))
	mustTest(t, os.Mkdir(parent, 0o700))
	for _, err = w.Flush(); err != nil; _, err = w.Flush() {
		if !strings.Contains(err.Error(), dir) {
			t.Fatal(err)
		}
	}
	got, errs := readAll(readerTest(t, dir, Query{}))
	wantTexts(t, got, errs, "lost 1 to 2", "b")
	if len(lost) != 1 {
		t.Errorf("%d losses: %+v", len(lost), lost)
	}
}

func TestADirectoryReplacedByAnotherLogIsNotWritten(t *testing.T) {
	dir, other := filepath.Join(t.TempDir(), "log"), filepath.Join(t.TempDir(), "other")
	o := openTest(t, other, testOptions(newTestClock()))
	appendTest(t, o, "other")
	mustTest(t, o.Close())
	files := readDir(t, other)

	var lost []Lost
	w := openTest(t, dir, lossOptions(&lost))
	appendTest(t, w, "a")
	mustTest(t, os.RemoveAll(dir))
	mustTest(t, os.Rename(other, dir))
	_, err := w.Append(batchOf(w.opts.Clock.Now(), "b"))
	mustTest(t, err)
	if _, err := w.Flush(); err == nil || !strings.Contains(err.Error(), "another log") {
		t.Errorf("flush: %v, want an error about another log", err)
	}
	for name, data := range readDir(t, dir) {
		if name != lockName && !bytes.Equal(files[name], data) {
			t.Errorf("%s was changed", name)
		}
	}
}

func TestWriterWithoutItsLockFileRecreatesItOrStops(t *testing.T) {
	dir := t.TempDir()
	w := openTest(t, dir, testOptions(newTestClock()))
	appendTest(t, w, "a")
	lock := filepath.Join(dir, lockName)

	mustTest(t, os.Remove(lock))
	appendTest(t, w, "b")
	var locked *LockedError
	if _, err := Open(context.Background(), dir, testOptions(newTestClock())); !errors.As(err, &locked) {
		t.Errorf("a second writer opens the store: %v", err)
	}

	mustTest(t, os.Remove(lock))
	second := openTest(t, dir, testOptions(newTestClock()))
	_, err := w.Append(batchOf(w.opts.Clock.Now(), "c"))
	mustTest(t, err)
	if _, err := w.Flush(); !errors.As(err, &locked) {
		t.Errorf("flush of the first writer: %v, want a LockedError", err)
	}
	appendTest(t, second, "d")
	// The first writer does not continue after the second has closed the store.
	mustTest(t, second.Close())
	if _, err := w.Flush(); err == nil || !strings.Contains(err.Error(), "another writer") {
		t.Errorf("flush of the first writer: %v, want an error about another writer", err)
	}
	got, errs := readAll(readerTest(t, dir, Query{}))
	wantTexts(t, got, errs, "a", "b", "d")
}
