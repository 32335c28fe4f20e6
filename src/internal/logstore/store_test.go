// SPDX-License-Identifier: Apache-2.0

package logstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// Entries of these tests are CBOR byte strings with two bytes of length.
func testEntry(dst []byte, text string) []byte {
	dst = append(dst, 0x59)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(text)))
	return append(dst, text...)
}

var errEntry = errors.New("not an entry")

func testEntryLen(b []byte) (int, error) {
	if len(b) < 3 || b[0] != 0x59 {
		return 0, errEntry
	}
	n := 3 + int(binary.BigEndian.Uint16(b[1:]))
	if n > len(b) {
		return 0, errEntry
	}
	return n, nil
}

func testText(entry []byte) string { return string(entry[3:]) }

// testClock is a clock that tests set. It starts at one second since boot.
type testClock struct {
	boot   atomic.Uint64
	offset atomic.Int64
}

func newTestClock() *testClock {
	c := new(testClock)
	c.boot.Store(1e9)
	c.offset.Store(1_700_000_000e9)
	return c
}

func (c *testClock) Now() Moment { return Moment{Boot: c.boot.Load(), Offset: c.offset.Load()} }

func (c *testClock) advance(d time.Duration) { c.boot.Add(uint64(d)) }

var testBoot = [16]byte{1, 2, 3}

const metadataText = "metadata"

func testOptions(clock Clock) Options {
	return Options{
		EntryLen:     testEntryLen,
		Metadata:     func(Moment) []byte { return testEntry(nil, metadataText) },
		Clock:        clock,
		BootID:       testBoot,
		SyncInterval: -1,
		RetryPause:   time.Millisecond,
	}
}

func openTest(t testing.TB, dir string, opts Options) *Writer {
	t.Helper()
	w, err := Open(context.Background(), dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	return w
}

func batchOf(now Moment, texts ...string) Batch {
	b := Batch{Events: uint32(len(texts)), First: now.Boot, Last: now.Boot}
	for _, text := range texts {
		b.Entries = testEntry(b.Entries, text)
		b.End()
		b.Terms = append(b.Terms, TermHash(Name, text))
	}
	return b
}

func appendTest(t testing.TB, w *Writer, texts ...string) Position {
	t.Helper()
	p, err := w.Append(batchOf(w.opts.Clock.Now(), texts...))
	if err != nil {
		t.Fatal(err)
	}
	flushTest(t, w)
	return p
}

func flushTest(t testing.TB, w *Writer) Cursor {
	t.Helper()
	c, err := w.Flush()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func rotateTest(t testing.TB, w *Writer) {
	t.Helper()
	if err := rotate(w); err != nil {
		t.Fatal(err)
	}
}

func readerTest(t testing.TB, dir string, query Query) *Reader {
	t.Helper()
	r, err := OpenReader(dir, ReaderOptions{EntryLen: testEntryLen, Query: query})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

type read struct {
	sequence uint64
	text     string
}

// readAll reads to the end, without metadata, and collects all errors except io.EOF.
func readAll(r *Reader) (entries []read, errs []error) {
	for {
		c, err := r.Next(context.Background())
		if err == io.EOF {
			return entries, errs
		}
		if err != nil {
			errs = append(errs, err)
			if len(errs) > 1000 {
				return entries, errs
			}
			continue
		}
		for sequence, entry := range c.All() {
			if text := testText(entry); text != metadataText {
				entries = append(entries, read{sequence, text})
			}
		}
		if c.Err() != nil {
			errs = append(errs, c.Err())
		}
	}
}

func texts(entries []read) (all []string) {
	for _, e := range entries {
		all = append(all, e.text)
	}
	return all
}

func wantTexts(t *testing.T, got []read, errs []error, want ...string) {
	t.Helper()
	if len(errs) > 0 {
		t.Errorf("reading failed: %v", errs)
	}
	if fmt.Sprint(texts(got)) != fmt.Sprint(want) {
		t.Errorf("read %v, want %v", texts(got), want)
	}
}

func TestAppendedEntriesAreRead(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	w := openTest(t, dir, testOptions(newTestClock()))
	p := appendTest(t, w, "a", "b")
	if p.First != 2 || p.Cursor.Sequence != 3 {
		t.Errorf("first chunk has sequences %d to %d, want 2 to 3", p.First, p.Cursor.Sequence)
	}
	appendTest(t, w, "c")
	got, errs := readAll(readerTest(t, dir, Query{}))
	wantTexts(t, got, errs, "a", "b", "c")
	if got[2].sequence != 4 {
		t.Errorf("last entry has sequence %d, want 4", got[2].sequence)
	}
}

func TestSequencesContinueAfterReopening(t *testing.T) {
	dir := t.TempDir()
	clock := newTestClock()
	w := openTest(t, dir, testOptions(clock))
	appendTest(t, w, "a")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	w = openTest(t, dir, testOptions(clock))
	if p := appendTest(t, w, "b"); p.First != 4 {
		t.Errorf("sequence %d after reopening, want 4", p.First)
	}
	rotateTest(t, w)
	appendTest(t, w, "c")
	got, errs := readAll(readerTest(t, dir, Query{}))
	wantTexts(t, got, errs, "a", "b", "c")
}

func TestSecondWriterIsRefused(t *testing.T) {
	dir := t.TempDir()
	openTest(t, dir, testOptions(newTestClock()))
	_, err := Open(context.Background(), dir, testOptions(newTestClock()))
	var locked *LockedError
	if !errors.As(err, &locked) || locked.Dir != dir {
		t.Errorf("second writer got %v, want a LockedError naming %s", err, dir)
	}
}

func TestReadersCannotBlockAWriter(t *testing.T) {
	dir := t.TempDir()
	openTest(t, dir, testOptions(newTestClock()))
	info, err := os.Stat(filepath.Join(dir, lockName))
	if err != nil {
		t.Fatal(err)
	}
	// flock(2) only needs an open file.
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		t.Errorf("other users can open and lock the lock file: its mode is %v", mode)
	}
}

func TestSequencesJumpAfterCrashOfMachine(t *testing.T) {
	dir := t.TempDir()
	clock := newTestClock()
	w := openTest(t, dir, testOptions(clock))
	last := appendTest(t, w, "a").Cursor
	// The state after a kill: the lock is free, without a note of a clean close.
	if err := w.lock.release(); err != nil {
		t.Fatal(err)
	}

	opts := testOptions(clock)
	opts.BootID = [16]byte{9}
	w = openTest(t, dir, opts)
	if p := appendTest(t, w, "b"); p.First != last.Sequence+jump+1 {
		t.Errorf("sequence %d after a crash, want %d", p.First, last.Sequence+jump+1)
	}
	got, errs := readAll(readerTest(t, dir, Query{}))
	wantTexts(t, got, errs, "a", "b")

	// A reader that saw entries which were then lost misses no new entry.
	r := readerTest(t, dir, Query{})
	missing, err := r.Seek(Cursor{Store: last.Store, Sequence: last.Sequence + 5})
	if err != nil || missing != 0 {
		t.Fatalf("seek: %d missing, %v", missing, err)
	}
	got, errs = readAll(r)
	wantTexts(t, got, errs, "b")
}

func TestReaderStartsAtCursor(t *testing.T) {
	dir := t.TempDir()
	w := openTest(t, dir, testOptions(newTestClock()))
	appendTest(t, w, "a", "b", "c")
	rotateTest(t, w)
	appendTest(t, w, "d", "e")
	all, errs := readAll(readerTest(t, dir, Query{}))
	wantTexts(t, all, errs, "a", "b", "c", "d", "e")
	for i, e := range all {
		r := readerTest(t, dir, Query{})
		c, err := r.Resolve(Cursor{Store: r.Store(), Sequence: e.sequence}.String())
		if err != nil {
			t.Fatal(err)
		}
		if missing, err := r.Seek(c); err != nil || missing != 0 {
			t.Fatalf("seek: %d missing, %v", missing, err)
		}
		got, errs := readAll(r)
		wantTexts(t, got, errs, texts(all)[i+1:]...)
	}
}

func TestRemovedEntriesAreCounted(t *testing.T) {
	dir := t.TempDir()
	w := openTest(t, dir, testOptions(newTestClock()))
	start := appendTest(t, w, "a", "b").Cursor
	rotateTest(t, w)
	appendTest(t, w, "c")
	if err := os.Remove(filepath.Join(dir, "audit-0000000000000001.cborseq.zst")); err != nil {
		t.Fatal(err)
	}
	r := readerTest(t, dir, Query{})
	missing, err := r.Seek(Cursor{Store: start.Store, Sequence: 1})
	if err != nil || missing != 2 {
		t.Errorf("seek counted %d missing (%v), want 2", missing, err)
	}
	got, errs := readAll(r)
	wantTexts(t, got, errs, "c")
}

func TestForeignAndInvalidCursorsAreRefused(t *testing.T) {
	dir := t.TempDir()
	openTest(t, dir, testOptions(newTestClock()))
	r := readerTest(t, dir, Query{})
	if _, err := r.Resolve(Cursor{Store: [16]byte{7}, Sequence: 1}.String()); !errors.Is(err, ErrForeignCursor) {
		t.Errorf("got %v, want ErrForeignCursor", err)
	}
	for _, text := range []string{"", "x", "oldest ", Cursor{Sequence: 1 << 63}.String()} {
		if _, err := r.Resolve(text); !errors.Is(err, ErrInvalidCursor) {
			t.Errorf("%q: got %v, want ErrInvalidCursor", text, err)
		}
	}
}

func TestReaderFollowsThroughRotation(t *testing.T) {
	dir := t.TempDir()
	w := openTest(t, dir, testOptions(newTestClock()))
	r := readerTest(t, dir, Query{})
	const entries = 2000
	failed := make(chan error, 1)
	go func() {
		for i := range entries {
			if _, err := w.Append(batchOf(w.opts.Clock.Now(), fmt.Sprint(i))); err != nil {
				failed <- err
				return
			}
			if i%100 == 99 {
				if err := rotate(w); err != nil {
					failed <- err
					return
				}
			}
		}
		failed <- nil
	}()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var got []string
	for len(got) < entries {
		more, errs := readAll(r)
		if len(errs) > 0 {
			t.Fatal(errs)
		}
		got = append(got, texts(more)...)
		if len(got) == entries {
			break
		}
		if err := r.Wait(ctx); err != nil {
			t.Fatalf("waiting after %d entries: %v", len(got), err)
		}
	}
	for i, text := range got {
		if text != fmt.Sprint(i) {
			t.Fatalf("entry %d is %s", i, text)
		}
	}
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
}

func TestFilterSkipsChunks(t *testing.T) {
	dir := t.TempDir()
	w := openTest(t, dir, testOptions(newTestClock()))
	for i := range 100 {
		appendTest(t, w, fmt.Sprint("name", i), "common")
	}
	notice := batchOf(w.opts.Clock.Now(), "notice")
	notice.Notice = true
	if _, err := w.Append(notice); err != nil {
		t.Fatal(err)
	}
	flushTest(t, w)
	got, errs := readAll(readerTest(t, dir, Query{Terms: [][]Term{{NewTerm(Name, "name42"), NewTerm(Name, "other")}, {NewTerm(Name, "common")}}}))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	if len(got) > 20 {
		t.Errorf("%d of 201 entries were read", len(got))
	}
	found := fmt.Sprint(texts(got))
	for _, want := range []string{"name42", "notice"} {
		if !contains(texts(got), want) {
			t.Errorf("%s is not among %s", want, found)
		}
	}
	got, errs = readAll(readerTest(t, dir, Query{Terms: [][]Term{{NewTerm(Origin, "x")}}}))
	if len(errs) > 0 || len(got) != 201 {
		t.Errorf("a kind that is in no filter: %d entries of 201, %v", len(got), errs)
	}
}

func contains(all []string, one string) bool {
	for _, s := range all {
		if s == one {
			return true
		}
	}
	return false
}

func TestSegmentsOutsideTheTimesAreSkipped(t *testing.T) {
	dir := t.TempDir()
	clock := newTestClock()
	w := openTest(t, dir, testOptions(clock))
	for i := range 10 {
		clock.advance(time.Minute)
		appendTest(t, w, fmt.Sprint(i))
		clock.advance(time.Second)
		rotateTest(t, w)
	}
	at := func(i int) int64 { return clock.offset.Load() + 1e9 + int64(i)*61e9 + 60e9 }
	r := readerTest(t, dir, Query{Since: at(4), Until: at(6)})
	if err := r.SeekTime(context.Background(), at(4)); err != nil {
		t.Fatal(err)
	}
	got, errs := readAll(r)
	wantTexts(t, got, errs, "4", "5", "6")
}

func TestClockStepBeginsSegment(t *testing.T) {
	dir := t.TempDir()
	clock := newTestClock()
	w := openTest(t, dir, testOptions(clock))
	first := appendTest(t, w, "a")
	clock.offset.Add(int64(500 * time.Microsecond))
	if p := appendTest(t, w, "b"); p.Segment != first.Segment {
		t.Errorf("half a millisecond began a segment")
	}
	clock.offset.Add(-int64(time.Hour))
	if p := appendTest(t, w, "c"); p.Segment == first.Segment {
		t.Errorf("a clock step of an hour did not begin a segment")
	}
	got, errs := readAll(readerTest(t, dir, Query{}))
	wantTexts(t, got, errs, "a", "b", "c")
}

func TestOneSegmentFileCanBeRead(t *testing.T) {
	dir := t.TempDir()
	w := openTest(t, dir, testOptions(newTestClock()))
	p := appendTest(t, w, "a", "b")
	data, err := os.ReadFile(filepath.Join(dir, p.Segment))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "copy")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := OpenFile(context.Background(), path, ReaderOptions{EntryLen: testEntryLen})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, errs := readAll(r)
	wantTexts(t, got, errs, "a", "b")
}

func TestADamagedSegmentFileIsReadToItsEnd(t *testing.T) {
	dir := t.TempDir()
	w := openTest(t, dir, testOptions(newTestClock()))
	first := appendTest(t, w, "a", "b")
	appendTest(t, w, "c")
	data, err := os.ReadFile(filepath.Join(dir, first.Segment))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		content func() []byte
		want    []string
		errs    int
	}{
		"first chunk damaged": {func() []byte { d := bytes.Clone(data); d[40]++; return d }, []string{"a", "b", "c"}, 1},
		"one damaged header":  {func() []byte { d := bytes.Clone(data[:60]); d[40]++; return d }, nil, 1},
		"newer version":       {func() []byte { d := bytes.Clone(data); d[12] = 2; resum(d); return d }, nil, 1},
		"empty":               {func() []byte { return nil }, nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "copy")
			if err := os.WriteFile(path, c.content(), 0o600); err != nil {
				t.Fatal(err)
			}
			r, err := OpenFile(context.Background(), path, ReaderOptions{EntryLen: testEntryLen})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			got, errs := readAll(r)
			if !slices.Equal(texts(got), c.want) || len(errs) != c.errs {
				t.Errorf("read %q with the errors %v, want %q with %d", texts(got), errs, c.want, c.errs)
			}
		})
	}
}

func TestZstdPrintsTheSequence(t *testing.T) {
	if _, err := exec.LookPath("zstd"); err != nil {
		t.Skipf("zstd(1) is not installed: %v", err)
	}
	dir := t.TempDir()
	w, _ := filledStore(t, dir, 2, 20)
	var want []byte
	r := readerTest(t, dir, Query{})
	for {
		c, err := r.Next(context.Background())
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, c.Entries...)
	}
	for _, state := range []string{"closed", "sealed"} {
		names, err := filepath.Glob(filepath.Join(dir, "audit-*"))
		if err != nil {
			t.Fatal(err)
		}
		// The shell sorts like Glob, which is the order of the sequences.
		got, err := exec.Command("zstd", append([]string{"-dcq"}, names...)...).Output()
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: zstd gives %d bytes, want %d (%v)", state, len(got), len(want), err)
		}
		sealTest(t, w)
	}
}

func FuzzCursor(f *testing.F) {
	f.Add(Cursor{Store: [16]byte{1}, Sequence: 5}.String())
	f.Add("oldest")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseCursor(text)
		if err == nil && c.String() != text {
			t.Errorf("%q is read as %s", text, c)
		}
		if err != nil && !errors.Is(err, ErrInvalidCursor) {
			t.Errorf("%q: %v is not ErrInvalidCursor", text, err)
		}
	})
}

// rotate begins a segment and waits until it is durable.
func rotate(w *Writer) error {
	rotated := make(chan error, 1)
	w.Rotate(func(_ string, err error) { rotated <- err })
	return <-rotated
}
