// SPDX-License-Identifier: Apache-2.0

package logstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"crypto-auditing/src/internal/logstore/file/faulty"
	"crypto-auditing/src/internal/logstore/frame"
	"crypto-auditing/src/internal/logstore/queue"
	"crypto-auditing/src/internal/logstore/segment"
	"crypto-auditing/src/internal/retention"
)

// copyTest copies a file.
func copyTest(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	mustTest(t, err)
	mustTest(t, os.WriteFile(to, data, 0o600))
}

// otherSegment returns a segment of another store.
func otherSegment(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	w := openTest(t, dir, testOptions(newTestClock()))
	p := appendTest(t, w, "other")
	mustTest(t, w.Close())
	return filepath.Join(dir, p.Segment)
}

// foreignFiles are files that may be in a log directory under the name of a segment.
// next is the next sequence of the log.
func foreignFiles() map[string]struct {
	first func(next uint64) uint64
	put   func(t *testing.T, dir, path string)
} {
	next := func(next uint64) uint64 { return next }
	later := func(next uint64) uint64 { return next + 1000 }
	last := func(uint64) uint64 { return frame.MaxSequence }
	duplicate := func(t *testing.T, dir, path string) { copyTest(t, filepath.Join(dir, segment.Name(1)), path) }
	garbage := func(t *testing.T, _, path string) {
		mustTest(t, os.WriteFile(path, bytes.Repeat([]byte("x"), 5000), 0o600))
	}
	sparse := func(size int64) func(*testing.T, string, string) {
		return func(t *testing.T, _, path string) {
			mustTest(t, os.WriteFile(path, []byte("x"), 0o600))
			mustTest(t, os.Truncate(path, size))
		}
	}
	return map[string]struct {
		first func(next uint64) uint64
		put   func(t *testing.T, dir, path string)
	}{
		"a copy under the next name":            {next, duplicate},
		"a copy under a higher name":            {later, duplicate},
		"a copy under the highest name":         {last, duplicate},
		"garbage under the highest name":        {last, garbage},
		"an empty file under the highest name":  {last, func(t *testing.T, _, path string) { mustTest(t, os.WriteFile(path, nil, 0o600)) }},
		"a segment of another log":              {later, func(t *testing.T, _, path string) { copyTest(t, otherSegment(t), path) }},
		"another log's under the highest name":  {last, func(t *testing.T, _, path string) { copyTest(t, otherSegment(t), path) }},
		"a FIFO":                                {next, func(t *testing.T, _, path string) { mustTest(t, unix.Mkfifo(path, 0o600)) }},
		"a directory":                           {next, func(t *testing.T, _, path string) { mustTest(t, os.Mkdir(path, 0o700)) }},
		"a dangling link":                       {next, func(t *testing.T, _, path string) { mustTest(t, os.Symlink("nothing", path)) }},
		"a link to itself":                      {last, func(t *testing.T, _, path string) { mustTest(t, os.Symlink(filepath.Base(path), path)) }},
		"a sparse file larger than any segment": {next, sparse(1<<40 + 1)},
		"a sparse file as large as a segment":   {last, sparse(1 << 40)},
	}
}

func TestForeignFilesDoNotStopAWriterAndAreNotChanged(t *testing.T) {
	for name, c := range foreignFiles() {
		for _, identity := range []string{"known", "of version 0.1.0", "lost"} {
			t.Run(name+", identity "+identity, func(t *testing.T) {
				dir := t.TempDir()
				w, all := filledStore(t, dir, 3, 4)
				store, next := w.store, w.next
				mustTest(t, w.Close())
				if identity != "known" {
					mustTest(t, os.Remove(filepath.Join(dir, segment.IdentityName)))
				}
				if identity == "lost" {
					mustTest(t, os.Remove(filepath.Join(dir, lockName)))
				}
				path := filepath.Join(dir, segment.Name(c.first(next)))
				before := readSegmentsTest(t, dir)
				c.put(t, dir, path)
				info, err := os.Lstat(path)
				mustTest(t, err)

				var foreign []string
				opts := testOptions(newTestClock())
				opts.Terms = testTerms
				opts.Foreign = func(name string, err error) {
					if err == nil || !strings.Contains(err.Error(), name) {
						t.Errorf("%s is skipped with the error: %v", name, err)
					}
					foreign = append(foreign, name)
				}
				w = openTest(t, dir, opts)
				if w.store != store || w.next <= next || w.next > next+farthest {
					t.Errorf("the store is %x and continues at %d, want %x and %d", w.store, w.next, store, next)
				}
				appendTest(t, w, "new")
				rotateTest(t, w)
				sealTest(t, w)
				appendTest(t, w, "newer")
				if !slices.Contains(foreign, filepath.Base(path)) {
					t.Errorf("%s was not reported, only %q", filepath.Base(path), foreign)
				}
				if reasons, err := w.Foreign(); err != nil || len(reasons) != len(foreign) {
					t.Errorf("the status has %v, %v; reported were %q", reasons, err, foreign)
				}
				if now, err := os.Lstat(path); err != nil || !os.SameFile(info, now) || now.Size() != info.Size() || now.ModTime() != info.ModTime() {
					t.Errorf("the file was changed: %v", err)
				}
				for name, data := range before {
					if x, err := segment.Open(filepath.Join(dir, name)); err != nil {
						t.Errorf("%s of %d bytes: %v", name, len(data), err)
					} else {
						x.Close()
					}
				}
				mustTest(t, os.RemoveAll(path))
				if reasons, err := w.Foreign(); err != nil || len(reasons) != 0 {
					t.Errorf("after the file was removed, the status has %v, %v", reasons, err)
				}
				got, errs := readAll(readerTest(t, dir, Query{}))
				var want []string
				for _, e := range all {
					want = append(want, e.text)
				}
				wantTexts(t, got, errs, append(want, "new", "newer")...)

				// Retention removes only the log's own segments, and never the active one.
				c.put(t, dir, path)
				removed, err := w.Retain(context.Background(), retention.Policy{MaxSize: retention.Limit{Bytes: 1}}, nil)
				mustTest(t, err)
				if _, err := os.Lstat(path); err != nil {
					t.Errorf("the foreign file was removed: %v", err)
				}
				if _, err := os.Stat(filepath.Join(dir, w.Status().Segment)); err != nil || len(removed.Segments) < 4 {
					t.Errorf("removed %+v; the active segment: %v", removed, err)
				}
			})
		}
	}
}

// readSegmentsTest returns the segments of a directory.
func readSegmentsTest(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	files := readDir(t, dir)
	for name := range files {
		if _, ok := segment.ParseName(name); !ok {
			delete(files, name)
		}
	}
	return files
}

func TestNewSegmentReplacesNoFile(t *testing.T) {
	for name, system := range systemsTest(t) {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			opts := testOptions(newTestClock())
			opts.Files = system
			var foreign []string
			opts.Foreign = func(name string, _ error) { foreign = append(foreign, name) }
			w := openTest(t, dir, opts)
			appendTest(t, w, "a")
			taken := filepath.Join(dir, segment.Name(w.next))
			mustTest(t, os.WriteFile(taken, []byte("evidence"), 0o600))
			_ = rotate(w) // fails: the name is taken
			appendTest(t, w, "b")
			if data, err := os.ReadFile(taken); err != nil || string(data) != "evidence" {
				t.Errorf("the file holds %q, %v", data, err)
			}
			if !slices.Contains(foreign, filepath.Base(taken)) {
				t.Errorf("reported: %q", foreign)
			}
			mustTest(t, os.Remove(taken))
			got, errs := readAll(readerTest(t, dir, Query{}))
			wantTexts(t, got, errs, "a", "b")
		})
	}
}

func TestWriterContinuesAfterTheHighestSequenceOfAllSegments(t *testing.T) {
	// Two writers of one store, as after the lock was removed: one continues in its
	// segment, the other begins a newer one.
	dir, other := t.TempDir(), t.TempDir()
	w := openTest(t, dir, testOptions(newTestClock()))
	old := appendTest(t, w, "a").Segment
	writeDir(t, other, readDir(t, dir))
	mustTest(t, openTest(t, other, testOptions(newTestClock())).Close())
	last := appendTest(t, w, "b", "c", "d", "e").Cursor.Sequence
	copyTest(t, filepath.Join(dir, old), filepath.Join(other, old))
	third := openTest(t, other, testOptions(newTestClock()))
	if p := appendTest(t, third, "f"); p.First <= last {
		t.Errorf("continues at %d, but entry %d exists", p.First, last)
	}
}

func TestSealingReplacesOnlyTheSegmentThatItRead(t *testing.T) {
	dir := t.TempDir()
	disk := faulty.New()
	var path string
	var other []byte
	disk.Decide = func(op faulty.Op, _ int, at string) faulty.Fault {
		if op == faulty.Sync && path != "" && at == path+queue.Temporary {
			// Another file takes the name meanwhile.
			if err := os.Remove(path); err != nil {
				t.Error(err)
			}
			if err := os.WriteFile(path, other, 0o600); err != nil {
				t.Error(err)
			}
		}
		return faulty.Fault{}
	}
	opts := testOptions(newTestClock())
	opts.Files = disk
	opts.Terms = testTerms
	w := openTest(t, dir, opts)
	p := appendTest(t, w, "a")
	rotateTest(t, w)
	path, other = filepath.Join(dir, p.Segment), []byte("evidence")
	if err := w.Seal(t.Context(), func(s Sealed) { t.Errorf("sealed %+v", s) }); err == nil || !strings.Contains(err.Error(), "another file") {
		t.Errorf("sealing: %v, want an error about another file", err)
	}
	if data, err := os.ReadFile(path); err != nil || !bytes.Equal(data, other) {
		t.Errorf("the file holds %q, %v", data, err)
	}
}

func TestMissingStoreIDIsTakenFromMostSegments(t *testing.T) {
	dir := t.TempDir()
	w, _ := filledStore(t, dir, 2, 1)
	want := w.store
	mustTest(t, w.Close())
	for _, content := range []string{"", "x\n", strings.Repeat("0", 32) + "\n", strings.Repeat("g", 32) + "\n", strings.Repeat("a", 33) + "\n"} {
		mustTest(t, os.WriteFile(filepath.Join(dir, segment.IdentityName), []byte(content), 0o600))
		if id, ok := segment.Identity(dir); ok {
			t.Errorf("%q is the id %x", content, id)
		}
	}
	list, err := segment.List(dir)
	mustTest(t, err)
	copyTest(t, otherSegment(t), filepath.Join(dir, segment.Name(1<<40)))
	if id, known, err := segment.StoreID(dir, append(list, 1<<40)); err != nil || !known || id != want {
		t.Errorf("the id is %x, %v, %v, want %x", id, known, err, want)
	}
	if reopened := openTest(t, dir, testOptions(newTestClock())); reopened.store != want {
		t.Errorf("the writer's id is %x, want %x", reopened.store, want)
	}
	if id, ok := segment.Identity(dir); !ok || id != want {
		t.Errorf("the file holds %x, %v", id, ok)
	}
	if info, err := os.Stat(filepath.Join(dir, segment.IdentityName)); err != nil || info.Mode().Perm()&^0o640 != 0 {
		t.Errorf("the file: %v, %v", info, err)
	}
}

func TestAnotherLogThatReplacedAllSegmentsIsContinued(t *testing.T) {
	dir := t.TempDir()
	w, _ := filledStore(t, dir, 2, 1)
	mustTest(t, w.Close())
	for name := range readSegmentsTest(t, dir) {
		mustTest(t, os.Remove(filepath.Join(dir, name)))
	}
	backup := t.TempDir()
	other, all := filledStore(t, backup, 2, 3)
	mustTest(t, other.Close())
	writeDir(t, dir, readSegmentsTest(t, backup))
	reopened := openTest(t, dir, testOptions(newTestClock()))
	if reopened.store != other.store {
		t.Errorf("the store is %x, want %x", reopened.store, other.store)
	}
	appendTest(t, reopened, "new")
	var want []string
	for _, e := range all {
		want = append(want, e.text)
	}
	got, errs := readAll(readerTest(t, dir, Query{}))
	wantTexts(t, got, errs, append(want, "new")...)
}

func TestUnreadableFileIsReportedOnceAndRecovers(t *testing.T) {
	dir := t.TempDir()
	w, _ := filledStore(t, dir, 2, 1)
	mustTest(t, w.Close())
	path := filepath.Join(dir, segment.Name(1))
	restore := hide(t, path, func(path string) error { return os.Symlink("nothing", path) })
	var reports []error
	opts := testOptions(newTestClock())
	opts.Terms = testTerms
	opts.Foreign = func(_ string, err error) { reports = append(reports, err) }
	w = openTest(t, dir, opts)
	for range 3 {
		sealTest(t, w)
	}
	var unreadable *segment.UnreadableError
	if len(reports) != 1 || !errors.As(reports[0], &unreadable) {
		t.Errorf("reports %v, want one", reports)
	}
	restore()
	if sealed := sealTest(t, w); len(sealed) != 1 || sealed[0].Segment != filepath.Base(path) {
		t.Errorf("sealed %s, want %s", fmt.Sprint(sealed), filepath.Base(path))
	}
}
