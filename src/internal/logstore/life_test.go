// SPDX-License-Identifier: Apache-2.0

package logstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"crypto-auditing/src/internal/logstore/file/faulty"
	"crypto-auditing/src/internal/logstore/frame"
	"crypto-auditing/src/internal/logstore/prune"
	"crypto-auditing/src/internal/logstore/queue"
	"crypto-auditing/src/internal/logstore/segment"
	"crypto-auditing/src/internal/logstore/verify"
	"crypto-auditing/src/internal/retention"
)

func testTerms(terms, values []uint64, entry []byte) (allTerms, allValues []uint64) {
	return append(terms, TermHash(Name, testText(entry))), values
}

// filledStore makes a store of some closed segments with many small chunks.
func filledStore(t testing.TB, dir string, segments, chunks int) (*Writer, []read) {
	t.Helper()
	clock := newTestClock()
	opts := testOptions(clock)
	opts.Terms = testTerms
	w := openTest(t, dir, opts)
	var all []read
	for s := range segments {
		for c := range chunks {
			clock.advance(time.Second)
			texts := []string{fmt.Sprintf("one %d %d", s, c), fmt.Sprintf("two %d %d", s, c)}
			p, err := w.Append(batchOf(clock.Now(), texts...))
			if err != nil {
				t.Fatal(err)
			}
			for i, text := range texts {
				all = append(all, read{p.First + uint64(i), text})
			}
		}
		rotateTest(t, w)
	}
	return w, all
}

func sealTest(t testing.TB, w *Writer) (sealed []Sealed) {
	t.Helper()
	if err := w.Seal(t.Context(), func(s Sealed) { sealed = append(sealed, s) }); err != nil {
		t.Fatal(err)
	}
	return sealed
}

func verifyTest(t testing.TB, dir string) *verify.Report {
	t.Helper()
	report, err := verify.Store(t.Context(), dir, verify.Options{EntryLen: testEntryLen})
	if err != nil {
		t.Fatal(err)
	}
	if report.Break != nil {
		t.Errorf("verify: %v", report.Break)
	}
	return report
}

func TestSealingKeepsEntriesSequencesAndHashes(t *testing.T) {
	dir := t.TempDir()
	w, all := filledStore(t, dir, 3, 40)
	before := verifyTest(t, dir)
	sealed := sealTest(t, w)
	if len(sealed) != 3 {
		t.Fatalf("%d segments were sealed, want 3", len(sealed))
	}
	for _, s := range sealed {
		if s.Err != nil || s.After >= s.Before || s.Chunks != 2 {
			t.Errorf("sealing: %+v", s)
		}
	}
	after := verifyTest(t, dir)
	if after.Hash != before.Hash || after.Entries != before.Entries || after.Events != before.Events || after.LastSequence != before.LastSequence {
		t.Errorf("before sealing %+v\nafter %+v", before, after)
	}
	got, errs := readAll(readerTest(t, dir, Query{}))
	if len(errs) > 0 || !slices.Equal(got, all) {
		t.Errorf("read %d of %d entries, %v", len(got), len(all), errs)
	}
	if again := sealTest(t, w); len(again) != 0 {
		t.Errorf("%d segments were sealed again", len(again))
	}
	reader := readerTest(t, dir, Query{Terms: [][]Term{{NewTerm(Name, "two 1 7")}}})
	got, errs = readAll(reader)
	if len(errs) > 0 || len(got) != 80 {
		t.Errorf("a term of one segment: %d entries, want its 80; %v", len(got), errs)
	}
}

func TestCursorsStayValidAfterSealing(t *testing.T) {
	dir := t.TempDir()
	w, all := filledStore(t, dir, 2, 10)
	for range 2 {
		for i, e := range all {
			r := readerTest(t, dir, Query{})
			if missing, err := r.Seek(Cursor{Store: r.Store(), Sequence: e.sequence}); err != nil || missing != 0 {
				t.Fatalf("seek: %d missing, %v", missing, err)
			}
			got, errs := readAll(r)
			if len(errs) > 0 || !slices.Equal(got, all[i+1:]) {
				t.Fatalf("after %v: read %d entries, want %d (%v)", e, len(got), len(all)-i-1, errs)
			}
		}
		sealTest(t, w)
	}
}

func TestReadingBackwardsReversesReadingForwards(t *testing.T) {
	dir := t.TempDir()
	w, all := filledStore(t, dir, 3, 10)
	appendTest(t, w, "last")
	forwards, errs := readAll(readerTest(t, dir, Query{}))
	if len(errs) > 0 || len(forwards) != len(all)+1 {
		t.Fatalf("%d entries, %v", len(forwards), errs)
	}
	for _, state := range []string{"closed", "sealed"} {
		for from := range len(forwards) + 1 {
			r := readerTest(t, dir, Query{})
			c := Cursor{Store: r.Store()}
			if from > 0 {
				c.Sequence = forwards[from-1].sequence
			}
			if _, err := r.Seek(c); err != nil {
				t.Fatal(err)
			}
			got := readBackwards(t, r)
			slices.Reverse(got)
			if !slices.Equal(got, forwards[:from]) {
				t.Fatalf("%s: before %d: read %v, want %v", state, from, texts(got), texts(forwards[:from]))
			}
			// Then forwards again.
			again, errs := readAll(r)
			if len(errs) > 0 || !slices.Equal(again, forwards) {
				t.Fatalf("%s: forwards again: read %v, %v", state, texts(again), errs)
			}
		}
		sealTest(t, w)
	}
}

func readBackwards(t *testing.T, r *Reader) (got []read) {
	t.Helper()
	for {
		c, err := r.Previous()
		if err == io.EOF {
			return got
		}
		if err != nil {
			t.Fatal(err)
		}
		var chunk []read
		for sequence, entry := range c.All() {
			if text := testText(entry); text != metadataText {
				chunk = append(chunk, read{sequence, text})
			}
		}
		if c.Err() != nil {
			t.Fatal(c.Err())
		}
		slices.Reverse(chunk)
		got = append(got, chunk...)
	}
}

func TestTailReadsFewChunks(t *testing.T) {
	dir := t.TempDir()
	w, _ := filledStore(t, dir, 5, 50)
	sealTest(t, w)
	r := readerTest(t, dir, Query{Terms: [][]Term{{NewTerm(Name, "one 2 17")}}})
	if err := r.SeekNewest(); err != nil {
		t.Fatal(err)
	}
	got := readBackwards(t, r)
	if len(got) != 100 {
		t.Errorf("a term of one segment, backwards: %d entries, want its 100", len(got))
	}
}

// If any operation fails while a segment is sealed, the old segment stays until the new
// one has replaced it, and readers see no difference.
func TestInterruptedSealingChangesNothing(t *testing.T) {
	for stop := range 12 {
		t.Run(fmt.Sprint("operation ", stop), func(t *testing.T) {
			dir := t.TempDir()
			w, all := filledStore(t, dir, 1, 20)
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			disk := faulty.New()
			if err := disk.Adopt(dir); err != nil {
				t.Fatal(err)
			}
			opts := testOptions(newTestClock())
			opts.Terms = testTerms
			opts.Files = disk
			w = openTest(t, dir, opts)
			left := stop
			disk.Decide = func(faulty.Op, int, string) faulty.Fault {
				if left--; left < 0 {
					return faulty.Fault{Err: faulty.ErrOff}
				}
				return faulty.Fault{}
			}
			err := w.Seal(t.Context(), func(Sealed) {})
			if err != nil && !errors.Is(err, faulty.ErrOff) {
				t.Fatal(err)
			}
			disk.Off()
			_ = w.Close()
			if err := disk.Cut(rand.New(rand.NewPCG(uint64(stop), 0))); err != nil {
				t.Fatal(err)
			}
			got, errs := readAll(readerTest(t, dir, Query{}))
			if len(errs) > 0 || !slices.Equal(got, all) {
				t.Errorf("read %d of %d entries, %v", len(got), len(all), errs)
			}
			verifyTest(t, dir)
			// The next writer removes temporary files.
			w = openTest(t, dir, testOptions(newTestClock()))
			if left, _ := filepath.Glob(filepath.Join(dir, "*"+queue.Temporary)); len(left) > 0 {
				t.Errorf("%v was not removed", left)
			}
			sealTest(t, w)
			verifyTest(t, dir)
		})
	}
}

func TestDamagedSegmentIsNotSealed(t *testing.T) {
	dir := t.TempDir()
	w, _ := filledStore(t, dir, 2, 5)
	name := filepath.Join(dir, segment.Name(1))
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)-10] ^= 1
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	sealed := sealTest(t, w)
	if len(sealed) != 2 || sealed[1].Err != nil {
		t.Fatalf("sealed: %+v", sealed)
	}
	if _, ok := segment.AsCorrupt(sealed[0].Err); !ok {
		t.Errorf("sealing a damaged segment: %v, want a CorruptError", sealed[0].Err)
	}
	if after, err := os.ReadFile(name); err != nil || !slices.Equal(after, data) {
		t.Errorf("the damaged segment has changed (%v)", err)
	}
	if again := sealTest(t, w); len(again) != 0 {
		t.Errorf("sealing was tried again: %+v", again)
	}
}

func TestNoticeIsNotMergedIntoOtherChunks(t *testing.T) {
	dir := t.TempDir()
	w, _ := filledStore(t, dir, 0, 0)
	appendTest(t, w, "a")
	notice := batchOf(w.opts.Clock.Now(), "lost")
	notice.Notice, notice.Lost = true, 7
	for range 2 {
		if _, err := w.Append(notice); err != nil {
			t.Fatal(err)
		}
	}
	appendTest(t, w, "b")
	rotateTest(t, w)
	if sealed := sealTest(t, w); len(sealed) != 1 || sealed[0].Chunks != 4 {
		t.Errorf("sealed %+v, want four chunks", sealed)
	}
	if report := verifyTest(t, dir); report.Lost != 14 {
		t.Errorf("%d events lost, want 14", report.Lost)
	}
	got, errs := readAll(readerTest(t, dir, Query{Terms: [][]Term{{NewTerm(Name, "b")}}}))
	wantTexts(t, got, errs, "lost", "lost", "b")
}

func TestReaderFollowsThroughRotationSealingAndRemoval(t *testing.T) {
	dir := t.TempDir()
	opts := testOptions(newTestClock())
	opts.Terms = testTerms
	w := openTest(t, dir, opts)
	const entries, readers = 3000, 3
	var group sync.WaitGroup
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for i := range readers {
		r := readerTest(t, dir, Query{})
		group.Go(func() {
			if err := followNumbers(ctx, r, entries); err != nil {
				t.Errorf("reader %d: %v", i, err)
			}
		})
	}
	for i := range entries {
		if _, err := w.Append(batchOf(opts.Clock.Now(), fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
		if i%50 == 49 {
			rotateTest(t, w)
		}
		if i%200 == 199 {
			sealTest(t, w)
		}
		if i%500 == 499 {
			if _, err := w.Retain(context.Background(), retention.Policy{MaxSize: retention.Limit{Bytes: 20 << 10}}, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	flushTest(t, w)
	group.Wait()
	if list, err := segment.List(dir); err != nil || len(list) > entries/50/2 {
		t.Errorf("%d segments are left (%v)", len(list), err)
	}
}

// followNumbers reads n numbers in order. Only removed ones may be missing.
func followNumbers(ctx context.Context, r *Reader, n int) error {
	next := 0
	removed := false
	for next < n {
		c, err := r.Next(ctx)
		var missing *MissingError
		switch {
		case err == io.EOF:
			if err := r.Wait(ctx); err != nil {
				return fmt.Errorf("waiting for %d: %w", next, err)
			}
			continue
		case errors.As(err, &missing):
			removed = true
			continue
		case err != nil:
			return err
		}
		for _, entry := range c.All() {
			text := testText(entry)
			if text == metadataText {
				continue
			}
			got := number(text)
			if got < next || got > next && !removed {
				return fmt.Errorf("got entry %d, want %d", got, next)
			}
			next, removed = got+1, false
		}
		if c.Err() != nil {
			return c.Err()
		}
	}
	return nil
}

func TestRetentionRemovesWholeSegmentsOldestFirst(t *testing.T) {
	const segments = 6
	setup := func(t *testing.T) (*Writer, *testClock, []verify.Info) {
		w, _ := filledStore(t, t.TempDir(), segments, 10)
		info, err := verify.Inspect(context.Background(), w.dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		return w, w.opts.Clock.(*testClock), info
	}
	cases := map[string]struct {
		policy func(w *Writer, clock *testClock, info []verify.Info) retention.Policy
		want   int
		reason prune.Reason
	}{
		"nothing to do": {
			func(*Writer, *testClock, []verify.Info) retention.Policy { return retention.Policy{} }, 0, "",
		},
		"age": {
			func(_ *Writer, clock *testClock, info []verify.Info) retention.Policy {
				now := clock.Now()
				return retention.Policy{MaxAge: time.Duration(frame.RealTime(now.Boot, now.Offset) - info[1].LastTime - 1)}
			}, 2, prune.Age,
		},
		"size": {
			func(_ *Writer, _ *testClock, info []verify.Info) retention.Policy {
				var size int64
				for _, i := range info[3:] {
					size += i.Bytes
				}
				return retention.Policy{MaxSize: retention.Limit{Bytes: size}}
			}, 3, prune.Size,
		},
		"a minimal size keeps the active segment": {
			func(*Writer, *testClock, []verify.Info) retention.Policy {
				return retention.Policy{MaxSize: retention.Limit{Bytes: 1}}
			}, segments, prune.Size,
		},
		"free space": {
			func(w *Writer, _ *testClock, info []verify.Info) retention.Policy {
				w.opts.FreeSpace = func(string) (int64, error) { return 1000, nil }
				return retention.Policy{KeepFree: retention.Limit{Bytes: 1000 + info[0].Bytes + 1}}
			}, 2, prune.Free,
		},
		"read by all": {
			func(_ *Writer, _ *testClock, info []verify.Info) retention.Policy {
				return retention.Policy{Read: info[3].Last, Reading: retention.Drop}
			}, 4, prune.Read,
		},
		"partly read stays": {
			func(_ *Writer, _ *testClock, info []verify.Info) retention.Policy {
				return retention.Policy{Read: info[3].Last - 1, Reading: retention.Drop}
			}, 3, prune.Read,
		},
		"unread stays although too large": {
			func(_ *Writer, _ *testClock, info []verify.Info) retention.Policy {
				return retention.Policy{MaxSize: retention.Limit{Bytes: 1}, Read: info[0].Last, Reading: retention.Keep}
			}, 1, prune.Size,
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w, clock, info := setup(t)
			removed, err := w.Retain(context.Background(), c.policy(w, clock, info), nil)
			if err != nil {
				t.Fatal(err)
			}
			if len(removed.Segments) != c.want {
				t.Fatalf("removed %d segments, want %d: %+v", len(removed.Segments), c.want, removed)
			}
			var bytes int64
			for i, s := range removed.Segments {
				bytes += info[i].Bytes
				if s.First != info[i].First || s.Reason != c.reason {
					t.Errorf("removed %+v, want the segment from %d, by %s", s, info[i].First, c.reason)
				}
			}
			if removed.Bytes != bytes || removed.Oldest.Sequence != info[c.want].First-1 {
				t.Errorf("%d bytes, oldest %d; want %d, %d", removed.Bytes, removed.Oldest.Sequence, bytes, info[c.want].First-1)
			}
			verifyTest(t, w.dir)
		})
	}
}

func TestRemoveComparesCursorsAcrossAJump(t *testing.T) {
	dir := t.TempDir()
	clock := newTestClock()
	w := openTest(t, dir, testOptions(clock))
	read := appendTest(t, w, "a").Cursor
	if err := w.lock.release(); err != nil { // as a kill does
		t.Fatal(err)
	}
	opts := testOptions(clock)
	opts.BootID = [16]byte{9}
	w = openTest(t, dir, opts)
	if _, err := w.Remove(context.Background(), Cursor{Store: [16]byte{1}, Sequence: 1 << 60}, nil); !errors.Is(err, ErrForeignCursor) {
		t.Errorf("a foreign cursor: %v, want ErrForeignCursor", err)
	}
	if removed, err := w.Remove(context.Background(), Cursor{Store: read.Store, Sequence: read.Sequence - 1}, nil); err != nil || len(removed.Segments) != 0 {
		t.Errorf("not all read: removed %+v (%v), want nothing", removed, err)
	}
	removed, err := w.Remove(context.Background(), read, nil)
	if err != nil || len(removed.Segments) != 1 || removed.Segments[0].Last != read.Sequence {
		t.Errorf("all read: removed %+v (%v), want the segment up to %d", removed, err, read.Sequence)
	}
	r := readerTest(t, dir, Query{})
	if missing, err := r.Seek(Cursor{Store: read.Store, Sequence: 0}); err != nil || missing != read.Sequence {
		t.Errorf("%d are missing (%v), want %d", missing, err, read.Sequence)
	}
}

func TestSyncIntervalMakesDurableWithoutFlush(t *testing.T) {
	opts := testOptions(newTestClock())
	opts.SyncInterval = time.Millisecond
	committed := make(chan Position, 10)
	opts.Committed = func(p Position) { committed <- p }
	w := openTest(t, t.TempDir(), opts)
	if first := <-committed; first.Offset != 0 || first.First != 1 {
		t.Errorf("committed first: %+v, want the segment's beginning", first)
	}
	p, err := w.Append(batchOf(opts.Clock.Now(), "a"))
	if err != nil {
		t.Fatal(err)
	}
	if got := <-committed; got != p {
		t.Errorf("committed %+v, want %+v", got, p)
	}
	for w.Status().Durable != p.Cursor {
		runtime.Gosched()
	}
}

func TestMaintainSealsClosedSegments(t *testing.T) {
	dir := t.TempDir()
	opts := testOptions(newTestClock())
	w := openTest(t, dir, opts)
	ctx, cancel := context.WithCancel(t.Context())
	reports := make(chan Maintenance, 100)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.Maintain(ctx, time.Hour, nil, nil, func(m Maintenance) { reports <- m })
	}()
	for i := range 5 {
		appendTest(t, w, fmt.Sprint(i))
		name := w.Status().Segment
		rotateTest(t, w)
		m := <-reports
		if m.Err != nil || m.Sealed == nil || m.Sealed.Segment != name {
			t.Fatalf("report %+v, want %s sealed", m, name)
		}
	}
	cancel()
	<-ended
	verifyTest(t, dir)
}

func TestClockStepsKeepTimesRight(t *testing.T) {
	dir := t.TempDir()
	clock := newTestClock()
	w := openTest(t, dir, testOptions(clock))
	var at []int64
	for i, step := range []time.Duration{0, -time.Hour, 3 * time.Hour, -2 * time.Hour} {
		clock.advance(time.Minute)
		clock.offset.Add(int64(step))
		now := clock.Now()
		at = append(at, frame.RealTime(now.Boot, now.Offset))
		appendTest(t, w, fmt.Sprint(i))
	}
	for i, when := range at {
		r := readerTest(t, dir, Query{Since: when, Until: when})
		if err := r.SeekTime(context.Background(), when); err != nil {
			t.Fatal(err)
		}
		got, errs := readAll(r)
		wantTexts(t, got, errs, fmt.Sprint(i))
	}
}
