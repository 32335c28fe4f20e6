// SPDX-License-Identifier: Apache-2.0

package logstore

import (
	"bytes"
	"encoding/hex"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"crypto-auditing/src/internal/logstore/frame"
	"crypto-auditing/src/internal/logstore/segment"
)

// largeSegment makes a store with one segment of 3 MiB without an index, which is read in
// parts, and returns its entries and the path of the segment.
func largeSegment(t *testing.T, dir string) ([]read, string) {
	t.Helper()
	clock := newTestClock()
	w := openTest(t, dir, testOptions(clock))
	random := rand.NewChaCha8([32]byte{1})
	var all []read
	for range 120 {
		clock.advance(time.Second)
		var texts []string
		for range 2 {
			b := make([]byte, 12<<10)
			_, _ = random.Read(b)
			texts = append(texts, hex.EncodeToString(b))
		}
		p := appendTest(t, w, texts...)
		for i, text := range texts {
			all = append(all, read{p.First + uint64(i), text})
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.zst"))
	if err != nil || len(files) != 1 {
		t.Fatalf("files %v, %v", files, err)
	}
	return all, files[0]
}

func TestAnEntryOfASegmentWithoutAnIndexIsLocated(t *testing.T) {
	dir := t.TempDir()
	all, path := largeSegment(t, dir)
	s, err := segment.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	size, err := s.Size()
	if err != nil || size < 2<<20 {
		t.Fatalf("the segment has %d bytes, %v", size, err)
	}
	store := readerTest(t, dir, Query{}).Store()
	for sequence := range all[len(all)-1].sequence + 3 {
		at, ok, after, err := s.Locate(sequence, store, size)
		if err != nil {
			t.Fatal(err)
		}
		var h frame.Header
		if ok && (at.Sequence > sequence || s.Header(at.Offset, &h) != nil || h.Sequence != at.Sequence) {
			t.Errorf("entry %d: got the chunk %+v, whose header begins at entry %d", sequence, at, h.Sequence)
		}
		if after != size && (s.Header(after, &h) != nil || h.Sequence <= sequence) {
			t.Errorf("entry %d: got the offset %d of entry %d after it", sequence, after, h.Sequence)
		}
		if distance := after - at.Offset; distance < 0 || distance > 2<<20 {
			t.Errorf("entry %d: searched from %d to %d", sequence, at.Offset, after)
		}
	}
}

// checkSeeks reads in both directions from positions of a log.
func checkSeeks(t *testing.T, dir string, want []read) {
	t.Helper()
	for from := 0; from <= len(want); from += 7 {
		r := readerTest(t, dir, Query{})
		c := Cursor{Store: r.Store()}
		if from > 0 {
			c.Sequence = want[from-1].sequence
		}
		for range 2 {
			if _, err := r.Seek(c); err != nil {
				t.Fatal(err)
			}
			var back []read
			for {
				chunk, err := r.Previous()
				if _, damaged := segment.AsCorrupt(err); damaged {
					continue
				}
				if err != nil {
					break
				}
				var texts []read
				for sequence, entry := range chunk.All() {
					if text := testText(entry); text != metadataText {
						texts = append(texts, read{sequence, text})
					}
				}
				slices.Reverse(texts)
				back = append(back, texts...)
			}
			slices.Reverse(back)
			if !slices.Equal(back, want[:from]) {
				t.Errorf("backwards from %d: read %d entries, want %d", from, len(back), from)
			}
			if _, err := r.Seek(c); err != nil {
				t.Fatal(err)
			}
			if got, _ := readAll(r); !slices.Equal(got, want[from:]) {
				t.Errorf("from %d: read %d entries, want %d", from, len(got), len(want)-from)
			}
		}
	}
}

func TestSeeksInADamagedLargeSegmentFindAllReadableEntries(t *testing.T) {
	dir := t.TempDir()
	all, path := largeSegment(t, dir)
	checkSeeks(t, dir, all)

	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	chunks := chunkOffsets(t, dir, filepath.Base(path))
	for name, damage := range map[string]func(b []byte){
		"in the middle": func(b []byte) { clear(b[chunks[60]:chunks[64]]) },
		"of headers":    func(b []byte) { b[chunks[30]+60] ^= 1; b[chunks[90]+60] ^= 1 },
		"at the end":    func(b []byte) { clear(b[chunks[100]:]) },
		"of the store":  func(b []byte) { b[chunks[60]+24] ^= 1; resum(b[chunks[60]:]) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			b := bytes.Clone(whole)
			damage(b)
			writeDir(t, dir, map[string][]byte{filepath.Base(path): b})
			// The reference is a reader that reads everything.
			want, errs := readAll(readerTest(t, dir, Query{}))
			if len(want) < len(all)/2 || len(want) == len(all) {
				t.Fatalf("read %d of %d entries, %v", len(want), len(all), errs)
			}
			checkSeeks(t, dir, want)
		})
	}
}
