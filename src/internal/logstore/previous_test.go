// SPDX-License-Identifier: Apache-2.0

package logstore

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"crypto-auditing/src/internal/logstore/frame"
)

// killTest ends a writer like a kill does: the lock is free, and nothing was closed.
func killTest(t *testing.T, w *Writer) {
	t.Helper()
	if err := w.lock.release(); err != nil {
		t.Fatal(err)
	}
}

func recordTest(t *testing.T, w *Writer) {
	t.Helper()
	if err := w.StartRecording(); err != nil {
		t.Fatal(err)
	}
}

func touchTest(t *testing.T, path string, unixNano int64) {
	t.Helper()
	if err := os.Chtimes(path, time.Time{}, time.Unix(0, unixNano)); err != nil {
		t.Fatal(err)
	}
}

func TestWriterReportsHowThePreviousOneStopped(t *testing.T) {
	otherBoot := [16]byte{9}
	// last is the time of the last chunk, now the time of the next start.
	type setup struct {
		dir       string
		clock     *testClock
		w         *Writer
		segment   string
		last, now int64
	}
	closeTest := func(t *testing.T, s *setup) {
		if err := s.w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		end     func(t *testing.T, s *setup)
		boot    [16]byte
		orderly bool
		// idle is how long after the last chunk the writer was alive.
		idle time.Duration
	}{
		"closed":                        {closeTest, testBoot, true, 0},
		"closed before the last boot":   {closeTest, otherBoot, true, 0},
		"killed, not touched since":     {func(t *testing.T, s *setup) { killTest(t, s.w); touchTest(t, s.segment, s.last-5) }, testBoot, false, 0},
		"killed while idle":             {func(t *testing.T, s *setup) { killTest(t, s.w); touchTest(t, s.segment, s.last+7e9) }, testBoot, false, 7 * time.Second},
		"lost with the machine":         {func(t *testing.T, s *setup) { killTest(t, s.w); touchTest(t, s.segment, s.last+7e9) }, otherBoot, false, 7 * time.Second},
		"killed, touched in the future": {func(t *testing.T, s *setup) { killTest(t, s.w); touchTest(t, s.segment, s.now+5) }, testBoot, false, 0},
		"closed, touched later":         {func(t *testing.T, s *setup) { closeTest(t, s); touchTest(t, s.segment, s.last+7e9) }, testBoot, true, 0},
		"closed by version 0.1.0": {func(t *testing.T, s *setup) {
			closeTest(t, s)
			// Its note is only the cursor, without a newline.
			note, err := os.ReadFile(filepath.Join(s.dir, lockName))
			if err != nil || len(note) != len(Cursor{}.String()) {
				t.Fatalf("the lock file holds %q, %v", note, err)
			}
		}, testBoot, true, 0},
		"closed, then a start that failed": {func(t *testing.T, s *setup) {
			closeTest(t, s)
			s.clock.advance(time.Minute)
			s.w = openTest(t, s.dir, testOptions(s.clock))
			closeTest(t, s)
		}, testBoot, true, 0},
		"killed, then starts that were killed": {func(t *testing.T, s *setup) {
			killTest(t, s.w)
			touchTest(t, s.segment, s.last+7e9)
			for range 2 {
				s.clock.advance(time.Minute)
				s.w = openTest(t, s.dir, testOptions(s.clock))
				killTest(t, s.w)
			}
		}, testBoot, false, 7 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			s := &setup{dir: t.TempDir(), clock: newTestClock()}
			s.w = openTest(t, s.dir, testOptions(s.clock))
			if p := s.w.Previous(); p != (Previous{}) {
				t.Errorf("a new store had %+v", p)
			}
			recordTest(t, s.w)
			s.clock.advance(time.Second)
			p := appendTest(t, s.w, "a")
			s.segment = filepath.Join(s.dir, p.Segment)
			s.last = frame.RealTime(s.clock.Now().Boot, s.clock.Now().Offset)
			s.now = s.last + int64(time.Hour)
			c.end(t, s)

			opts := testOptions(s.clock)
			opts.BootID = c.boot
			s.clock.advance(time.Duration(s.now-s.last) - time.Duration(frame.RealTime(s.clock.Now().Boot, s.clock.Now().Offset)-s.last))
			w := openTest(t, s.dir, opts)
			want := Previous{End: s.last + int64(c.idle), Orderly: c.orderly, BootID: testBoot}
			if got := w.Previous(); got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

func TestModificationTimesOfSealedSegmentsAreIgnored(t *testing.T) {
	dir := t.TempDir()
	clock := newTestClock()
	w := openTest(t, dir, testOptions(clock))
	recordTest(t, w)
	p := appendTest(t, w, "a")
	last := frame.RealTime(clock.Now().Boot, clock.Now().Offset)
	rotateTest(t, w)
	sealTest(t, w)
	active := w.Status().Segment
	killTest(t, w)
	if err := os.Remove(filepath.Join(dir, active)); err != nil {
		t.Fatal(err)
	}
	clock.advance(time.Hour)
	touchTest(t, filepath.Join(dir, p.Segment), last+7e9)
	if got := openTest(t, dir, testOptions(clock)).Previous(); got.End != last {
		t.Errorf("the end is %d, want the end of the last chunk, %d", got.End, last)
	}
}

func TestHeartbeatTouchesTheActiveSegment(t *testing.T) {
	for name, system := range systemsTest(t) {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			opts := testOptions(newTestClock())
			opts.Files = system
			opts.Heartbeat = time.Millisecond
			w := openTest(t, dir, opts)
			recordTest(t, w)
			for range 2 {
				path := filepath.Join(dir, appendTest(t, w, "a").Segment)
				touchTest(t, path, 1e18)
				for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
					info, err := os.Stat(path)
					if err != nil {
						t.Fatal(err)
					}
					if info.ModTime().UnixNano() != 1e18 {
						break
					}
					if time.Now().After(end) {
						t.Fatal("the segment was not touched")
					}
				}
				rotateTest(t, w)
			}
		})
	}
}

func TestUnknownNotesAreIgnored(t *testing.T) {
	cursor := Cursor{Sequence: 5}.String()
	for _, text := range []string{
		"", "\n", "x", "\nkilled", "\nkilled x y", "\nkilled 5 0102", "\nkilled -5 01020304050607080910111213141516", "\x00\x00",
	} {
		if n := parseNote(text); n.pending != (Previous{}) {
			t.Errorf("%q is read as %+v", text, n)
		}
	}
	for _, n := range []note{
		{}, {cursor: cursor}, {pending: Previous{End: 5, Orderly: true, BootID: testBoot}}, {cursor: cursor, pending: Previous{End: 1 << 62}},
	} {
		if got := parseNote(n.String()); got != n || len(n.String()) > maxNote {
			t.Errorf("%+v is read as %+v", n, got)
		}
	}
}

func FuzzNote(f *testing.F) {
	f.Add("")
	f.Add(note{cursor: Cursor{Sequence: 5}.String()}.String())
	f.Add(note{pending: Previous{End: 5, Orderly: true, BootID: testBoot}}.String())
	f.Fuzz(func(t *testing.T, text string) {
		n := parseNote(text)
		if reparsed := parseNote(n.String()); reparsed != n {
			t.Errorf("%q is read as %+v, which is read as %+v", text, n, reparsed)
		}
	})
}
