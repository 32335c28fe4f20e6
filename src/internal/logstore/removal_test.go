// SPDX-License-Identifier: Apache-2.0

package logstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"crypto-auditing/src/internal/logstore/file/faulty"
	"crypto-auditing/src/internal/logstore/queue"
	"crypto-auditing/src/internal/retention"
)

// record returns the entry of a removal.
func record(r Removal) []byte {
	return testEntry(nil, fmt.Sprintf("removed %d segments, %d to %d, %d bytes", len(r.Segments), r.First(), r.Last(), r.Bytes))
}

// records returns the texts of the removals recorded in a store.
func records(t *testing.T, dir string) (all []string) {
	t.Helper()
	got, errs := readAll(readerTest(t, dir, Query{}))
	if len(errs) > 0 {
		t.Errorf("reading failed: %v", errs)
	}
	return slices.DeleteFunc(texts(got), func(s string) bool { return !strings.HasPrefix(s, "removed ") })
}

// closedStore makes a store of three segments and an empty active one.
func closedStore(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	old, _ := filledStore(t, dir, 3, 2)
	mustTest(t, old.Close())
	return dir
}

func TestRemovalIsRecordedBeforeItHappens(t *testing.T) {
	dir := closedStore(t)
	disk := faulty.New()
	var before []string
	disk.Decide = func(op faulty.Op, _ int, path string) faulty.Fault {
		if op == faulty.Remove && !strings.HasSuffix(path, queue.Temporary) && before == nil {
			before = records(t, dir)
		}
		return faulty.Fault{}
	}
	opts := testOptions(newTestClock())
	opts.Files = disk
	w := openTest(t, dir, opts)
	removed, err := w.Retain(context.Background(), retention.Policy{MaxSize: retention.Limit{Bytes: 1}}, record)
	mustTest(t, err)
	want := testText(record(removed))
	if len(removed.Segments) < 3 || len(before) != 1 || before[0] != want {
		t.Errorf("before the removal the log had the records %q, want %q", before, want)
	}
	if s := w.Status(); s.Durable != s.Committed {
		t.Errorf("the record is not durable: %+v", s)
	}
	if _, err := w.Retain(context.Background(), retention.Policy{MaxSize: retention.Limit{Bytes: 1}}, record); err != nil {
		t.Error(err)
	}
	if got := records(t, dir); len(got) != 1 {
		t.Errorf("the log has the records %q after nothing was removed", got)
	}
}

func TestFailedRemovalIsRecordedOnce(t *testing.T) {
	dir := closedStore(t)
	disk := faulty.New()
	var failing atomic.Bool
	failing.Store(true)
	disk.Decide = func(op faulty.Op, _ int, path string) faulty.Fault {
		if op == faulty.Remove && failing.Load() {
			return faulty.Fault{Err: unix.EPERM}
		}
		return faulty.Fault{}
	}
	opts := testOptions(newTestClock())
	opts.Files = disk
	w := openTest(t, dir, opts)
	for range 3 {
		if removed, err := w.Retain(context.Background(), retention.Policy{MaxSize: retention.Limit{Bytes: 1}}, record); !errors.Is(err, unix.EPERM) || len(removed.Segments) != 0 {
			t.Fatalf("removed %+v, %v", removed, err)
		}
	}
	failing.Store(false)
	removed, err := w.Retain(context.Background(), retention.Policy{MaxSize: retention.Limit{Bytes: 1}}, record)
	if err != nil || len(removed.Segments) < 3 {
		t.Fatalf("removed %+v, %v", removed, err)
	}
	if got := records(t, dir); len(got) != 1 {
		t.Errorf("the log has the records %q, want one", got)
	}
}

func TestRemovalOnAFullDiskIsRecordedOnceThereIsSpace(t *testing.T) {
	dir := closedStore(t)
	disk := faulty.New()
	var removed atomic.Bool
	disk.Decide = func(op faulty.Op, _ int, path string) faulty.Fault {
		switch {
		case op == faulty.Remove:
			removed.Store(!strings.HasSuffix(path, queue.Temporary))
		case !removed.Load():
			return faulty.Fault{Err: unix.ENOSPC}
		}
		return faulty.Fault{}
	}
	opts := testOptions(newTestClock())
	opts.Files = disk
	opts.QueueSize = 1 // the first chunk fills it
	w := openTest(t, dir, opts)
	r, err := w.Retain(context.Background(), retention.Policy{MaxSize: retention.Limit{Bytes: 1}}, record)
	if err != nil || len(r.Segments) < 3 {
		t.Fatalf("removed %+v, %v", r, err)
	}
	for _, err := w.Flush(); err != nil; _, err = w.Flush() {
		if !errors.Is(err, unix.ENOSPC) {
			t.Fatal(err)
		}
	}
	if got, want := records(t, dir), testText(record(r)); len(got) != 1 || got[0] != want {
		t.Errorf("the log has the records %q, want %q", got, want)
	}
}

func TestNoSegmentIsRemovedWithoutARecord(t *testing.T) {
	dir := closedStore(t)
	disk := faulty.New()
	var broken atomic.Bool
	disk.Decide = func(op faulty.Op, _ int, path string) faulty.Fault {
		if broken.Load() && op != faulty.Remove {
			return faulty.Fault{Err: unix.EIO}
		}
		return faulty.Fault{}
	}
	opts := testOptions(newTestClock())
	opts.Files = disk
	w := openTest(t, dir, opts)
	before := len(segmentNames(readDir(t, dir)))
	broken.Store(true)
	if r, err := w.Retain(context.Background(), retention.Policy{MaxSize: retention.Limit{Bytes: 1}}, record); !errors.Is(err, unix.EIO) || len(r.Segments) != 0 {
		t.Errorf("removed %+v, %v", r, err)
	}
	if after := len(segmentNames(readDir(t, dir))); after != before {
		t.Errorf("%d segments of %d are left", after, before)
	}
}
