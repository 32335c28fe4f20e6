// SPDX-License-Identifier: Apache-2.0

package logstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"crypto-auditing/src/internal/logstore/file"
	"crypto-auditing/src/internal/logstore/file/faulty"
	"crypto-auditing/src/internal/logstore/queue"
	"crypto-auditing/src/internal/logstore/segment"
	"crypto-auditing/src/internal/logstore/verify"
	"crypto-auditing/src/internal/retention"
)

// powerCuts is the number of rounds of TestPowerCuts.
const powerCuts = 1000

// TestPowerCuts cuts the power of a store at random operations. Each time, the disk keeps
// a random part of the unsynced pages and names. No entry that Flush reported as durable
// may be lost, and none may be read twice.
func TestPowerCuts(t *testing.T) {
	rounds := powerCuts
	if testing.Short() {
		rounds /= 10
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	var dir string
	var life *lifetime
	for round := range rounds {
		if round%20 == 0 {
			dir = t.TempDir()
			life = &lifetime{t: t, dir: dir, random: random, clock: newTestClock()}
		}
		life.boot()
		if t.Failed() {
			t.Fatalf("round %d", round)
		}
	}
}

// lifetime is a store over several boots of a machine.
type lifetime struct {
	t      *testing.T
	dir    string
	random *rand.Rand
	clock  *testClock
	boots  byte

	next    int    // the next text
	durable []read // entries that Flush reported as durable
	floor   uint64 // entries below this sequence may have been removed
}

// boot starts the writer, works, and loses power.
func (l *lifetime) boot() {
	l.boots++
	disk := faulty.New()
	if err := disk.Adopt(l.dir); err != nil {
		l.t.Fatal(err)
	}
	var left atomic.Int64
	left.Store(int64(1 + l.random.IntN(120)))
	off := make(chan struct{})
	disk.Decide = func(op faulty.Op, n int, path string) faulty.Fault {
		if left.Add(-1) > 0 {
			return faulty.Fault{}
		}
		if left.Load() == 0 {
			close(off)
		}
		// The cut tears the operation.
		return faulty.Fault{Err: faulty.ErrOff, Bytes: n % 50}
	}
	opts := testOptions(l.clock)
	opts.Files = disk
	opts.BootID = [16]byte{l.boots}
	opts.SegmentSize = 4 << 10
	opts.Terms = testTerms
	w, err := Open(context.Background(), l.dir, opts)
	if err == nil {
		l.work(w, off)
	} else if !errors.Is(err, faulty.ErrOff) {
		l.t.Fatal(err)
	}
	disk.Off()
	if w != nil {
		// The process has ended with the machine; Close only ends its goroutine, and cannot
		// reach the disk.
		_ = w.Close()
	}
	if err := disk.Cut(l.random); err != nil {
		l.t.Fatal(err)
	}
	l.check()
}

// work appends, flushes, rotates, seals and removes until the power is off.
func (l *lifetime) work(w *Writer, off chan struct{}) {
	var unflushed []read
	for {
		select {
		case <-off:
			return
		default:
		}
		l.clock.advance(time.Second)
		switch l.random.IntN(12) {
		case 0:
			_ = rotate(w)
		case 1:
			_ = w.Seal(context.Background(), func(Sealed) {})
		case 2:
			removed, _ := w.Retain(context.Background(), retention.Policy{MaxSize: retention.Limit{Bytes: 40 << 10}}, nil)
			l.floor = max(l.floor, removed.Oldest.Sequence+1)
			if n := len(removed.Segments); n > 0 {
				l.floor = max(l.floor, removed.Segments[n-1].Last+1)
			}
		case 3, 4, 5:
			if _, err := w.Flush(); err == nil {
				l.durable = append(l.durable, unflushed...)
				unflushed = nil
			}
		default:
			var texts []string
			for range 1 + l.random.IntN(4) {
				texts = append(texts, fmt.Sprint(l.next, strings.Repeat("x", l.random.IntN(300))))
				l.next++
			}
			p, err := w.Append(batchOf(l.clock.Now(), texts...))
			if err != nil {
				continue
			}
			for i, text := range texts {
				unflushed = append(unflushed, read{p.First + uint64(i), text})
			}
		}
	}
}

// check reads the store as it is on the disk.
func (l *lifetime) check() {
	got, errs := readAll(readerTest(l.t, l.dir, Query{}))
	report, err := verify.Store(l.t.Context(), l.dir, verify.Options{EntryLen: testEntryLen})
	if err != nil || report.Break != nil && len(errs) == 0 {
		l.t.Errorf("verify: %v, %+v, but the reader found no error", err, report)
	}
	l.durable = slices.DeleteFunc(l.durable, func(e read) bool { return e.sequence < l.floor })
	if !subsequence(l.durable, got) {
		l.t.Errorf("durable entries are lost: %d durable, %d read", len(l.durable), len(got))
	}
	for i := 1; i < len(got); i++ {
		if number(got[i-1].text) >= number(got[i].text) || got[i-1].sequence >= got[i].sequence {
			l.t.Errorf("%v was read after %v", got[i], got[i-1])
		}
	}
	// Entries that were read once are durable now.
	l.durable = got
}

func number(text string) (n int) {
	_, _ = fmt.Sscanf(text, "%d", &n)
	return n
}

func TestFailedSyncIsNotDurableUntilWrittenAgain(t *testing.T) {
	dir := t.TempDir()
	disk := faulty.New()
	var broken atomic.Bool
	disk.Decide = func(op faulty.Op, n int, path string) faulty.Fault {
		if op == faulty.Sync && broken.Load() {
			return faulty.Fault{Err: unix.EIO}
		}
		return faulty.Fault{}
	}
	opts := testOptions(newTestClock())
	opts.Files = disk
	w := openTest(t, dir, opts)
	appendTest(t, w, "a")
	broken.Store(true)
	p, err := w.Append(batchOf(w.opts.Clock.Now(), "b"))
	if err != nil {
		t.Fatal(err)
	}
	var failed *file.SyncError
	if _, err := w.Flush(); !errors.As(err, &failed) {
		t.Errorf("flush with a broken disk: %v, want a SyncError", err)
	}
	if s := w.Status(); s.Durable.Sequence >= p.Cursor.Sequence || s.Err == nil {
		t.Errorf("after a failed sync: durable %d of %d, %v", s.Durable.Sequence, p.Cursor.Sequence, s.Err)
	}
	broken.Store(false)
	for _, err = w.Flush(); err != nil; _, err = w.Flush() {
	}
	disk.Off()
	_ = w.Close()
	if err := disk.Cut(rand.New(rand.NewPCG(1, 1))); err != nil {
		t.Fatal(err)
	}
	got, errs := readAll(readerTest(t, dir, Query{}))
	wantTexts(t, got, errs, "a", "b")
}

func TestPagesThatAFailedSyncDroppedAreCounted(t *testing.T) {
	dir := t.TempDir()
	disk := faulty.New()
	var broken atomic.Bool
	disk.Decide = func(op faulty.Op, n int, path string) faulty.Fault {
		if op == faulty.Sync && broken.CompareAndSwap(true, false) {
			// The kernel has dropped the pages and reads the disk again.
			path = strings.TrimSuffix(path, queue.Temporary)
			data, err := os.ReadFile(path)
			if err == nil {
				clear(data[len(data)-20:])
				err = os.WriteFile(path, data, 0o600)
			}
			if err != nil {
				t.Error(err)
			}
			return faulty.Fault{Err: unix.EIO}
		}
		return faulty.Fault{}
	}
	var losses []Lost
	opts := lossOptions(&losses)
	opts.Files = disk
	w := openTest(t, dir, opts)
	appendTest(t, w, "a")
	if _, err := w.Append(batchOf(w.opts.Clock.Now(), "b", "c")); err != nil {
		t.Fatal(err)
	}
	broken.Store(true)
	if _, err := w.Flush(); !errors.Is(err, unix.EIO) {
		t.Fatalf("flush: %v, want the error of the sync", err)
	}
	var lost *queue.UndurableError
	if _, err := w.Flush(); !errors.As(err, &lost) {
		t.Fatalf("flush: %v, want an UndurableError", err)
	}
	if lost.To-lost.From+1 != 2 {
		t.Errorf("%v, want 2 entries", lost)
	}
	appendTest(t, w, "d")
	got, errs := readAll(readerTest(t, dir, Query{}))
	if corrupt, ok := segment.AsCorrupt(errors.Join(errs...)); !ok || corrupt.To-corrupt.From+1 != 2 {
		t.Errorf("reading: %v, want one gap of 2", errs)
	}
	wantTexts(t, got, nil, "a", fmt.Sprintf("lost %d to %d", lost.From, lost.To), "d")
	if len(losses) != 1 || losses[0].Reason != NotDurable || losses[0].Events != 2 {
		t.Errorf("the losses %+v were reported, want one of 2 events", losses)
	}
}

func TestShortAndInterruptedWritesLeaveNoTrace(t *testing.T) {
	dir := t.TempDir()
	disk := faulty.New()
	random := rand.New(rand.NewPCG(3, 4))
	disk.Decide = func(op faulty.Op, n int, path string) faulty.Fault {
		fault := faulty.Fault{}
		if op == faulty.Write {
			fault.Bytes = 1 + random.IntN(100)
		}
		if random.IntN(20) == 0 {
			fault.Err = unix.EIO
		}
		return fault
	}
	opts := testOptions(newTestClock())
	opts.Files = disk
	var w *Writer
	var err error
	for w == nil {
		if w, err = Open(context.Background(), dir, opts); err != nil && !errors.Is(err, unix.EIO) {
			t.Fatal(err)
		}
	}
	var want []string
	for i := range 10 {
		want = append(want, fmt.Sprint(i))
		if _, err := w.Append(batchOf(opts.Clock.Now(), fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	for _, err = w.Flush(); err != nil; _, err = w.Flush() {
		if !errors.Is(err, unix.EIO) {
			t.Fatal(err)
		}
	}
	got, errs := readAll(readerTest(t, dir, Query{}))
	wantTexts(t, got, errs, want...)
	disk.Off()
	_ = w.Close()
}

// smallDisk mounts a tmpfs.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		if errors.Is(err, unix.EPERM) {
			t.Skipf("mounting needs privilege: %v", err)
		}
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

// systemsTest returns the ways to write that the kernel allows.
func systemsTest(t *testing.T) map[string]file.System {
	t.Helper()
	systems := map[string]file.System{"pwrite": file.Plain{}}
	best, err := file.Best()
	if err != nil {
		t.Logf("io_uring is refused: %v", err)
		return systems
	}
	systems["io_uring"] = best
	return systems
}

func TestWriterCountsLossesOnAFullDiskAndRecovers(t *testing.T) {
	for name, system := range systemsTest(t) {
		t.Run(name, func(t *testing.T) {
			mount := smallDisk(t, "256k")
			opts := testOptions(newTestClock())
			opts.Files = system
			opts.QueueSize = 16 << 10
			opts.SegmentSize = 32 << 10
			w := openTest(t, filepath.Join(mount, "log"), opts)
			random := rand.New(rand.NewPCG(1, 2))
			var want []string
			refused := 0
			for refused < 20 {
				text := noise(random, 2000)
				_, err := w.Append(batchOf(opts.Clock.Now(), text))
				var full *FullError
				switch {
				case err == nil:
					want = append(want, text)
				case errors.As(err, &full):
					refused++
					// Let the goroutine run.
					_, _ = w.Flush()
				default:
					t.Fatal(err)
				}
			}
			if err := w.Status().Err; !errors.Is(err, unix.ENOSPC) {
				t.Errorf("status has %v, want no space", err)
			}
			if _, err := w.Append(batchOf(opts.Clock.Now(), "x")); !errors.Is(err, unix.ENOSPC) {
				t.Errorf("append returned %v, want no space as the cause", err)
			}
			if err := unix.Mount("", mount, "", unix.MS_REMOUNT, "size=4m"); err != nil {
				t.Fatal(err)
			}
			for _, err := w.Flush(); err != nil; _, err = w.Flush() {
				if !errors.Is(err, unix.ENOSPC) {
					t.Fatal(err)
				}
			}
			want = append(want, "after")
			appendTest(t, w, "after")
			got, errs := readAll(readerTest(t, w.dir, Query{}))
			wantTexts(t, got, errs, want...)
			report, err := verify.Store(t.Context(), w.dir, verify.Options{EntryLen: testEntryLen})
			if err != nil || report.Break != nil {
				t.Errorf("verify: %v, %v", err, report)
			}
		})
	}
}

// noise returns text that does not compress well.
func noise(random *rand.Rand, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('!' + random.IntN(90))
	}
	return string(b)
}

func TestCloseWithAFullDiskReportsTheLosses(t *testing.T) {
	dir := t.TempDir()
	disk := faulty.New()
	var full atomic.Bool
	disk.Decide = func(op faulty.Op, n int, path string) faulty.Fault {
		if full.Load() {
			return faulty.Fault{Err: unix.ENOSPC}
		}
		return faulty.Fault{}
	}
	opts := testOptions(newTestClock())
	opts.Files = disk
	w, err := Open(context.Background(), dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	full.Store(true)
	for range 3 {
		if _, err := w.Append(batchOf(opts.Clock.Now(), "a", "b")); err != nil {
			t.Fatal(err)
		}
	}
	err = w.Close()
	if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "6 entries were not written") {
		t.Errorf("close returned %v, want 6 entries and no space", err)
	}
}

func TestStoreOpensOnAFullDiskAndFreesSpace(t *testing.T) {
	dir := t.TempDir()
	old, _ := filledStore(t, dir, 3, 2)
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	disk := faulty.New()
	var removed atomic.Bool
	disk.Decide = func(op faulty.Op, n int, path string) faulty.Fault {
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
	w := openTest(t, dir, opts)
	if err := w.Status().Err; !errors.Is(err, unix.ENOSPC) {
		t.Errorf("status has %v, want no space", err)
	}
	if _, err := w.Append(batchOf(opts.Clock.Now(), "new")); err != nil {
		t.Fatal(err)
	}
	if gone, err := w.Retain(context.Background(), retention.Policy{MaxSize: retention.Limit{Bytes: 1}}, nil); err != nil || len(gone.Segments) != 3 {
		t.Fatalf("removed %+v, %v, want 3 segments", gone, err)
	}
	for _, err := w.Flush(); err != nil; _, err = w.Flush() {
		if !errors.Is(err, unix.ENOSPC) {
			t.Fatal(err)
		}
	}
	got, errs := readAll(readerTest(t, dir, Query{}))
	wantTexts(t, got, errs, "new")
}
