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
	"slices"
	"strings"
	"testing"
)

// transcript describes all that next returns until the end of the log.
func transcript(t *testing.T, dir string, next func(context.Context) (*Chunk, error)) string {
	t.Helper()
	var text strings.Builder
	for range 10_000 {
		c, err := next(t.Context())
		switch {
		case err == io.EOF:
			return strings.ReplaceAll(text.String(), dir, "DIR")
		case err != nil:
			fmt.Fprintf(&text, "%T %v\n", err, err)
			continue
		}
		fmt.Fprintf(&text, "%s %d %d-%d %d\n", c.Segment, c.Offset, c.First, c.Last, c.Header.Events)
		for sequence, entry := range c.All() {
			fmt.Fprintf(&text, "%d %q\n", sequence, entry)
		}
		fmt.Fprintln(&text, c.Err())
	}
	t.Fatal("reading does not end")
	return ""
}

// randomStore writes a store of several segments, one of which may be missing and
// some damaged, and returns the cursors of its entries.
func randomStore(t *testing.T, r *rand.Rand) (dir string, cursors []Cursor) {
	t.Helper()
	dir = t.TempDir()
	w := openTest(t, dir, testOptions(newTestClock()))
	for range 3 + r.IntN(3) {
		for range 1 + r.IntN(12) {
			var all []string
			for range 1 + r.IntN(20) {
				all = append(all, strings.Repeat(fmt.Sprint(r.Uint64()), 1+r.IntN(20)))
			}
			cursors = append(cursors, appendTest(t, w, all...).Cursor)
		}
		rotateTest(t, w)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	files := readDir(t, dir)
	for _, name := range segmentNames(files) {
		b := slices.Clone(files[name])
		switch at := r.IntN(len(b)); r.IntN(5) {
		case 0:
			b[at] ^= 1 << r.IntN(8)
		case 1:
			b = b[:at]
		case 2:
			b = append(b[:at:at], b[min(at+r.IntN(300), len(b)):]...)
		case 3:
			if r.IntN(3) == 0 {
				if err := os.Remove(filepath.Join(dir, name)); err != nil {
					t.Fatal(err)
				}
				continue
			}
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir, cursors
}

func TestReadingAheadKeepsTheOrder(t *testing.T) {
	for seed := range uint64(25) {
		r := rand.New(rand.NewPCG(seed, 8))
		dir, cursors := randomStore(t, r)
		serial, reader := readerTest(t, dir, Query{}), readerTest(t, dir, Query{})
		ahead := NewAhead(reader)
		want := transcript(t, dir, serial.Next)
		if got := transcript(t, dir, ahead.Next); got != want {
			t.Fatalf("seed %d: read ahead:\n%s\nin order:\n%s", seed, got, want)
		}
		if reader.Cursor() != serial.Cursor() {
			t.Errorf("seed %d: the cursor at the end is %v, want %v", seed, reader.Cursor(), serial.Cursor())
		}
		// Again from a random cursor, after a stop in the middle.
		c := cursors[r.IntN(len(cursors))]
		reader.Rewind()
		_, _ = ahead.Next(t.Context())
		ahead.Stop()
		for _, s := range []*Reader{serial, reader} {
			if _, err := s.Seek(c); err != nil {
				t.Fatal(err)
			}
		}
		want = transcript(t, dir, serial.Next)
		if got := transcript(t, dir, ahead.Next); got != want {
			t.Fatalf("seed %d: read ahead from %v:\n%s\nin order:\n%s", seed, c, got, want)
		}
	}
}

func TestReadingAheadEndsWithItsContext(t *testing.T) {
	dir, _ := randomStore(t, rand.New(rand.NewPCG(2, 8)))
	ahead := NewAhead(readerTest(t, dir, Query{}))
	ctx, cancel := context.WithCancel(t.Context())
	_, _ = ahead.Next(ctx)
	cancel()
	for range 1000 { // chunks that were read ahead may be returned
		if _, err := ahead.Next(ctx); errors.Is(err, context.Canceled) {
			ahead.Stop()
			return
		}
	}
	t.Error("reading continues after its context ended")
}
