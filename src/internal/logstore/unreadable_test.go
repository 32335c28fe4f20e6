// SPDX-License-Identifier: Apache-2.0

package logstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"crypto-auditing/src/internal/logstore/segment"
	"crypto-auditing/src/internal/logstore/verify"
)

// unreadableForms are unreadable things in place of a segment, with the text that the
// error contains.
func unreadableForms() map[string]struct {
	put     func(path string) error
	message string
} {
	return map[string]struct {
		put     func(path string) error
		message string
	}{
		"a FIFO":          {func(path string) error { return unix.Mkfifo(path, 0o600) }, "not a regular file"},
		"a directory":     {func(path string) error { return os.Mkdir(path, 0o700) }, "not a regular file"},
		"a dangling link": {func(path string) error { return os.Symlink("nothing", path) }, "dangling symbolic link"},
		"a link to itself": {func(path string) error { return os.Symlink(filepath.Base(path), path) },
			"too many levels of symbolic links"},
		// A regular file that can be opened, but not read.
		"a file with bad sectors": {func(path string) error { return os.Symlink("/proc/self/mem", path) }, "input/output error"},
	}
}

// hide replaces a segment, and returns a function that restores it.
func hide(t *testing.T, path string, put func(path string) error) (restore func()) {
	t.Helper()
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	if err := put(path); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".away", path); err != nil {
			t.Fatal(err)
		}
	}
}

// segmentOf returns the entries of the segment that begins with first.
func segmentOf(all []read, first, next uint64) (in, out []read) {
	for _, e := range all {
		if e.sequence >= first && e.sequence < next {
			in = append(in, e)
		} else {
			out = append(out, e)
		}
	}
	return in, out
}

func TestReadersSkipASegmentThatCannotBeRead(t *testing.T) {
	for name, form := range unreadableForms() {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			w, all := filledStore(t, dir, 4, 5)
			sealTest(t, w)
			list, err := segment.List(dir)
			if err != nil {
				t.Fatal(err)
			}
			for hidden, first := range list[:len(list)-1] {
				path := filepath.Join(dir, segment.Name(first))
				restore := hide(t, path, form.put)
				_, want := segmentOf(all, first, list[hidden+1])
				for _, query := range []Query{{}, {Since: 1}} {
					got, errs := readAll(readerTest(t, dir, query))
					if !slices.Equal(got, want) {
						t.Errorf("without segment %d: read %v, want %v", hidden, texts(got), texts(want))
					}
					var unreadable *UnreadableError
					if len(errs) != 1 || !errors.As(errs[0], &unreadable) {
						t.Fatalf("without segment %d: errors %v", hidden, errs)
					}
					if unreadable.Segment != path || unreadable.From != first || unreadable.To != list[hidden+1]-1 ||
						unreadable.Newest || !strings.Contains(unreadable.Error(), form.message) {
						t.Errorf("without segment %d, %d to %d: %+v: %v", hidden, first, list[hidden+1]-1, unreadable, unreadable)
					}
				}
				report, err := verify.Store(t.Context(), dir, verify.Options{EntryLen: testEntryLen})
				if err != nil {
					t.Fatal(err)
				}
				if len(report.Unreadable) != 1 || report.Break != report.Unreadable[0] || report.Segments != len(list) ||
					report.Unreadable[0].To != list[hidden+1]-1 || report.LastSequence < list[len(list)-1] {
					t.Errorf("verify: %+v", report)
				}
				infos, err := verify.Inspect(context.Background(), dir, nil)
				if err != nil || len(infos) != len(list) || infos[hidden].Unreadable == nil || infos[hidden].First != first {
					t.Errorf("inspect: %+v, %v", infos, err)
				}
				restore()
			}
			got, errs := readAll(readerTest(t, dir, Query{}))
			wantTexts(t, got, errs, texts(all)...)
		})
	}
}

func TestSeveralUnreadableSegmentsAreOneGapEach(t *testing.T) {
	dir := t.TempDir()
	_, all := filledStore(t, dir, 4, 5)
	list, err := segment.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, first := range list[1:3] {
		hide(t, filepath.Join(dir, segment.Name(first)), unreadableForms()["a FIFO"].put)
	}
	_, want := segmentOf(all, list[1], list[3])
	got, errs := readAll(readerTest(t, dir, Query{}))
	if !slices.Equal(got, want) {
		t.Errorf("read %v, want %v", texts(got), texts(want))
	}
	// Only the second gap has a known end: a readable segment follows it.
	var a, b *UnreadableError
	if len(errs) != 2 || !errors.As(errs[0], &a) || !errors.As(errs[1], &b) || a.To != 0 || b.From != list[1] || b.To != list[3]-1 {
		t.Errorf("errors %v, want two up to %d", errs, list[3]-1)
	}
}

func TestTheNewestSegmentIsReadOnceItCanBe(t *testing.T) {
	for name, form := range unreadableForms() {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			w, all := filledStore(t, dir, 2, 5)
			list, err := segment.List(dir)
			if err != nil {
				t.Fatal(err)
			}
			newest := list[len(list)-1]
			before, err := w.Flush()
			if err != nil {
				t.Fatal(err)
			}
			restore := hide(t, filepath.Join(dir, segment.Name(newest)), form.put)
			r := readerTest(t, dir, Query{})
			got, errs := readAll(r)
			var unreadable *UnreadableError
			if !slices.Equal(got, all) || len(errs) != 1 || !errors.As(errs[0], &unreadable) || !unreadable.Newest || unreadable.To != 0 {
				t.Fatalf("read %v, errors %v", texts(got), errs)
			}
			if end, err := r.Newest(); err != nil || end.Sequence != newest-1 {
				t.Errorf("the newest readable entry is %v, %v, want %d", end, err, newest-1)
			}
			// The file in /proc has size 0, so it counts as an empty segment.
			if beyond, err := r.After(before); err != nil || beyond && name != "a file with bad sectors" {
				t.Errorf("a cursor in the segment is beyond the end: %v, %v", beyond, err)
			}
			for range 3 {
				// The gap is reported only once.
				if _, err := r.Next(t.Context()); err != io.EOF {
					t.Errorf("next: %v", err)
				}
			}
			restore()
			appendTest(t, w, "later")
			got, errs = readAll(r)
			wantTexts(t, got, errs, "later")
			if beyond, err := r.After(Cursor{Store: before.Store, Sequence: before.Sequence + 100}); err != nil || !beyond {
				t.Errorf("a cursor after the end is not beyond it: %v, %v", beyond, err)
			}
		})
	}
}

func TestSeekingATimeSkipsAnUnreadableSegment(t *testing.T) {
	dir := t.TempDir()
	_, all := filledStore(t, dir, 3, 5)
	list, err := segment.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	r := readerTest(t, dir, Query{})
	c, err := r.Next(t.Context())
	for err == nil && c.First < list[2]+3 {
		c, err = r.Next(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	since, first := c.RealTime(c.Header.First), c.First
	hide(t, filepath.Join(dir, segment.Name(list[0])), unreadableForms()["a link to itself"].put)
	if err := r.SeekTime(context.Background(), since); err != nil {
		t.Fatal(err)
	}
	// Earlier chunks of the same segment are skipped, too.
	want, _ := segmentOf(all, first, list[3])
	got, errs := readAll(r)
	wantTexts(t, got, errs, texts(want)...)
}

func TestReadingBackwardsPassesAnUnreadableSegment(t *testing.T) {
	dir := t.TempDir()
	_, all := filledStore(t, dir, 3, 5)
	list, err := segment.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	hide(t, filepath.Join(dir, segment.Name(list[1])), unreadableForms()["a FIFO"].put)
	r := readerTest(t, dir, Query{})
	if err := r.SeekNewest(); err != nil {
		t.Fatal(err)
	}
	var got []read
	var errs []error
	for {
		c, err := r.Previous()
		if err == io.EOF {
			break
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		var chunk []read
		for sequence, entry := range c.All() {
			if text := testText(entry); text != metadataText {
				chunk = append(chunk, read{sequence, text})
			}
		}
		got = append(chunk, got...)
	}
	_, want := segmentOf(all, list[1], list[2])
	var unreadable *UnreadableError
	if !slices.Equal(got, want) || len(errs) != 1 || !errors.As(errs[0], &unreadable) || unreadable.From != list[1] || unreadable.To != list[2]-1 {
		t.Errorf("read %v, want %v; errors %v", texts(got), texts(want), errs)
	}
}

// Skipping a file without data takes no time, whatever its size, and reading ends with
// its context.
func TestAHugeSparseFileIsSkipped(t *testing.T) {
	dir := t.TempDir()
	_, all := filledStore(t, dir, 2, 3)
	name := filepath.Join(dir, segment.Name(all[len(all)-1].sequence+1000))
	if err := os.WriteFile(name, []byte("no segment"), 0o600); err != nil {
		t.Fatal(err)
	}
	const giant = 1 << 42
	if err := os.Truncate(name, giant); err != nil {
		t.Skipf("the file system has no file of %d bytes: %v", int64(giant), err)
	}
	got, _ := readAll(readerTest(t, dir, Query{}))
	if !slices.Equal(got, all) {
		t.Errorf("read %v, want %v", texts(got), texts(all))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := readerTest(t, dir, Query{}).Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("reading with an ended context: %v", err)
	}
}

// Foreign files among the segments do not affect the entries, and are reported.
func TestStrayFilesAreSkipped(t *testing.T) {
	other := t.TempDir()
	filledStore(t, other, 1, 3)
	foreign, err := os.ReadFile(filepath.Join(other, segment.Name(1)))
	if err != nil {
		t.Fatal(err)
	}
	const far = 1 << 62
	for name, c := range map[string]struct {
		// content is nil for a copy of the first segment. at is the sequence in the name,
		// relative to the first entry of the second segment.
		content []byte
		at      int64
		message string
	}{
		"a copy under a higher name":       {nil, far, "it begins with entry 1, so it is a copy of another segment"},
		"a copy inside another segment":    {nil, 3, "its name is that of an entry in another segment"},
		"a copy inside the first segment":  {nil, -4, "its name is that of an entry in another segment"},
		"one of another log":               {foreign, far, "another"},
		"one of another log in between":    {foreign, 3, "another"},
		"bytes":                            {[]byte(strings.Repeat("nonsense", 100)), far, "it holds no chunk of this log"},
		"bytes inside another segment":     {[]byte(strings.Repeat("nonsense", 100)), 3, "its name is that of an entry in another segment"},
		"the beginning of another segment": {foreign[:len(foreign)/2], 3, "another"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			w, all := filledStore(t, dir, 3, 5)
			list, err := segment.List(dir)
			if err != nil {
				t.Fatal(err)
			}
			content := c.content
			if content == nil {
				if content, err = os.ReadFile(filepath.Join(dir, segment.Name(list[0]))); err != nil {
					t.Fatal(err)
				}
			}
			path := filepath.Join(dir, segment.Name(uint64(int64(list[1])+c.at)))
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			r := readerTest(t, dir, Query{})
			got, errs := readAll(r)
			if !slices.Equal(got, all) {
				t.Errorf("read %v, want %v", texts(got), texts(all))
			}
			var odd *ForeignError
			if len(errs) != 1 || !errors.As(errs[0], &odd) || odd.Name != filepath.Base(path) || !strings.Contains(odd.Detail, c.message) {
				t.Errorf("errors %v", errs)
			}
			// A reader that follows the log is not misled.
			last := appendTest(t, w, "later")
			got, errs = readAll(r)
			wantTexts(t, got, errs, "later")
			rotateTest(t, w)
			appendTest(t, w, "still later")
			got, errs = readAll(r)
			wantTexts(t, got, errs, "still later")
			// Neither is one that begins in the middle, or at the end.
			for i := range all {
				r := readerTest(t, dir, Query{})
				if _, err := r.Seek(Cursor{Store: last.Cursor.Store, Sequence: all[i].sequence}); err != nil {
					t.Fatal(err)
				}
				got, errs := readAll(r)
				if len(got) != len(all)-i-1+2 || len(errs) > 1 {
					t.Fatalf("after entry %d: read %v, errors %v", all[i].sequence, texts(got), errs)
				}
			}
			if end, err := r.Newest(); err != nil || end.Sequence != last.Cursor.Sequence+2 {
				t.Errorf("the newest entry is %v, %v, want %d", end, err, last.Cursor.Sequence+2)
			}
		})
	}
}

func ExampleUnreadableError() {
	err := &UnreadableError{Segment: "audit-0000000000000001.cborseq.zst", Err: os.ErrPermission, From: 1, To: 20}
	fmt.Println(err)
	// Output: cannot read segment audit-0000000000000001.cborseq.zst: permission denied (20 entries are missing, 1 to 20)
}
