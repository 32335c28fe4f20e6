// SPDX-License-Identifier: Apache-2.0

package logstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"crypto-auditing/src/internal/logstore/frame"
	"crypto-auditing/src/internal/logstore/segment"
	"crypto-auditing/src/internal/logstore/verify"
)

// smallStore makes a store of two segments with three chunks each, and returns
// its files and the entries.
func smallStore(t testing.TB) (files map[string][]byte, all []read) {
	t.Helper()
	dir := t.TempDir()
	w := openTest(t, dir, testOptions(newTestClock()))
	for s := range 2 {
		if s > 0 {
			rotateTest(t, w)
		}
		appendTest(t, w, fmt.Sprint("a", s), fmt.Sprint("b", s))
		appendTest(t, w, strings.Repeat(fmt.Sprint("long", s, " "), 50))
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	all, errs := readAll(readerTest(t, dir, Query{}))
	if len(errs) > 0 || len(all) != 6 {
		t.Fatalf("%d entries, %v", len(all), errs)
	}
	return readDir(t, dir), all
}

func readDir(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	names, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, name := range names {
		data, err := os.ReadFile(filepath.Join(dir, name.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[name.Name()] = data
	}
	return files
}

func writeDir(t testing.TB, dir string, files map[string][]byte) {
	t.Helper()
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func segmentNames(files map[string][]byte) (names []string) {
	for name := range files {
		if _, ok := segment.ParseName(name); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// subsequence reports whether all contains got, in order.
func subsequence(got, all []read) bool {
	for _, e := range got {
		i := slices.Index(all, e)
		if i < 0 {
			return false
		}
		all = all[i+1:]
	}
	return true
}

func TestAStoreCutAtAnyByteContinues(t *testing.T) {
	files, all := smallStore(t)
	names := segmentNames(files)
	newest := names[len(names)-1]
	dir := t.TempDir()
	for cut := range len(files[newest]) + 1 {
		writeDir(t, dir, files)
		if err := os.Truncate(filepath.Join(dir, newest), int64(cut)); err != nil {
			t.Fatal(err)
		}
		// Before a writer opens the store, its complete chunks can be read.
		before, errs := readAll(readerTest(t, dir, Query{}))
		if len(errs) > 0 || !slices.Equal(before, all[:len(before)]) || len(before) < 3 {
			t.Fatalf("cut at %d: read %v, %v", cut, texts(before), errs)
		}

		w, err := Open(context.Background(), dir, testOptions(newTestClock()))
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		p := appendTest(t, w, "new")
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if last := before[len(before)-1].sequence; p.First <= last {
			t.Fatalf("cut at %d: sequence %d after %d", cut, p.First, last)
		}
		if data, err := os.ReadFile(filepath.Join(dir, newest)); err != nil || !bytes.Equal(data, files[newest][:cut]) {
			t.Fatalf("cut at %d: the writer changed existing data", cut)
		}
		after, errs := readAll(readerTest(t, dir, Query{}))
		if want := append(texts(before), "new"); !slices.Equal(texts(after), want) {
			t.Fatalf("cut at %d: read %v, want %v", cut, texts(after), want)
		}
		for _, err := range errs {
			if corrupt, ok := segment.AsCorrupt(err); !ok || corrupt.Kind != frame.KindTorn && corrupt.Kind != frame.KindHeader {
				t.Fatalf("cut at %d: %v", cut, err)
			}
		}
		verifyCut(t, dir, cut, errs)
		for _, name := range segmentNames(readDir(t, dir)) {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// verifyCut checks that the chain is intact unless a segment has lost its beginning.
func verifyCut(t *testing.T, dir string, cut int, errs []error) {
	t.Helper()
	report, err := verify.Store(t.Context(), dir, verify.Options{EntryLen: testEntryLen})
	if err != nil {
		t.Fatal(err)
	}
	if report.Break == nil {
		if len(report.Torn) != len(errs) {
			t.Fatalf("cut at %d: verify found %v torn, the reader %v", cut, report.Torn, errs)
		}
		return
	}
	corrupt, ok := segment.AsCorrupt(report.Break)
	if !ok || corrupt.Kind != frame.KindTorn || cut >= 400 {
		t.Fatalf("cut at %d: %v", cut, report.Break)
	}
}

func TestDamageIsSkippedCountedAndReported(t *testing.T) {
	files, all := smallStore(t)
	names := segmentNames(files)
	oldest := names[0]
	cases := map[string]struct {
		damage  func(b []byte, chunks []int) []byte
		kind    frame.Kind
		missing int
	}{
		"bit in a header": {
			func(b []byte, chunks []int) []byte { b[chunks[1]+60] ^= 1; return b }, frame.KindHeader, 2,
		},
		"bit in a payload": {
			func(b []byte, chunks []int) []byte { b[chunks[2]-3] ^= 1; return b }, frame.KindPayload, 2,
		},
		"the first header zeroed": {
			func(b []byte, chunks []int) []byte { clear(b[:20]); return b }, frame.KindHeader, 0,
		},
		"a chunk of zeros": {
			func(b []byte, chunks []int) []byte { clear(b[chunks[1]:chunks[2]]); return b }, frame.KindHeader, 2,
		},
		"a chunk cut out": {
			func(b []byte, chunks []int) []byte { return append(b[:chunks[1]:chunks[1]], b[chunks[2]:]...) }, frame.KindSequence, 2,
		},
		"a chunk of another store": {
			func(b []byte, chunks []int) []byte {
				b[chunks[1]+24] ^= 1
				resum(b[chunks[1]:])
				return b
			}, frame.KindStore, 2,
		},
		"the end torn off": {
			func(b []byte, chunks []int) []byte { return b[:len(b)-5] }, frame.KindTorn, 1,
		},
		"the end zeroed": {
			func(b []byte, chunks []int) []byte { clear(b[chunks[2]:]); return b }, frame.KindHeader, 1,
		},
		"a length beyond the limit": {
			func(b []byte, chunks []int) []byte {
				binary.LittleEndian.PutUint32(b[chunks[1]+108:], 1<<30)
				resum(b[chunks[1]:])
				return b
			}, frame.KindLimit, 2,
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			writeDir(t, dir, files)
			b := c.damage(slices.Clone(files[oldest]), chunkOffsets(t, dir, oldest))
			writeDir(t, dir, map[string][]byte{oldest: b})
			got, errs := readAll(readerTest(t, dir, Query{}))
			if len(errs) != 1 {
				t.Fatalf("errors %v, want one", errs)
			}
			corrupt, ok := segment.AsCorrupt(errs[0])
			if !ok || corrupt.Kind != c.kind || filepath.Base(corrupt.Segment) != oldest {
				t.Errorf("got %v, want kind %s in %s", errs[0], c.kind, oldest)
			}
			if !subsequence(got, all) || len(got) != len(all)-c.missing {
				t.Errorf("read %v of %v, want all but %d", texts(got), texts(all), c.missing)
			}
			if n := corrupt.To - corrupt.From; c.missing > 0 && int(n)+1 != c.missing {
				t.Errorf("%v does not report %d as missing", corrupt, c.missing)
			}
			report, err := verify.Store(t.Context(), dir, verify.Options{EntryLen: testEntryLen})
			if err != nil {
				t.Fatal(err)
			}
			if first, ok := segment.AsCorrupt(report.Break); !ok || first.Offset != corrupt.Offset {
				t.Errorf("verify reports %v, the reader %v", report.Break, corrupt)
			}
		})
	}
}

// resum corrects the CRC of the header at the beginning of b.
func resum(b []byte) {
	n := int(binary.LittleEndian.Uint32(b[4:])) + 8
	sum := crc32.Checksum(b[:n-4], crc32.MakeTable(crc32.Castagnoli))
	binary.LittleEndian.PutUint32(b[n-4:], sum)
}

// chunkOffsets returns where the chunks of a segment begin.
func chunkOffsets(t testing.TB, dir, name string) (offsets []int) {
	t.Helper()
	s, err := segment.Open(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var h frame.Header
	for walker := s.Walk(); ; {
		offset, err := walker.Next(context.Background(), &h)
		if err == io.EOF {
			return offsets
		}
		if err != nil {
			t.Fatal(err)
		}
		offsets = append(offsets, int(offset))
	}
}

// Searching a damaged segment for the next chunk may take long, so that each search ends
// with its context.
func TestASearchInADamagedSegmentEndsWithItsContext(t *testing.T) {
	files, _ := smallStore(t)
	dir := t.TempDir()
	for _, name := range segmentNames(files) {
		files[name][4] ^= 0xff
	}
	writeDir(t, dir, files)
	path := filepath.Join(dir, segmentNames(files)[1])
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	s, err := segment.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	r := readerTest(t, dir, Query{})
	for name, search := range map[string]func(context.Context) error{
		"walking":    func(ctx context.Context) error { _, err := s.Walk().Next(ctx, new(frame.Header)); return err },
		"bounds":     func(ctx context.Context) error { _, _, err := s.Bounds(ctx); return err },
		"the last":   func(ctx context.Context) error { _, _, err := s.Last(ctx, [16]byte{}); return err },
		"inspecting": func(ctx context.Context) error { _, err := verify.Inspect(ctx, dir, nil); return err },
		"a time":     func(ctx context.Context) error { return r.SeekTime(ctx, 1) },
		"one file": func(ctx context.Context) error {
			_, err := OpenFile(ctx, path, ReaderOptions{EntryLen: testEntryLen})
			return err
		},
		"recovery": func(ctx context.Context) error { _, err := Open(ctx, dir, testOptions(newTestClock())); return err },
	} {
		if err := search(ended); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v, want the error of the context", name, err)
		}
	}
}

func TestTamperedEntryBreaksTheChain(t *testing.T) {
	files, _ := smallStore(t)
	oldest := segmentNames(files)[0]
	dir := t.TempDir()
	writeDir(t, dir, files)
	at := chunkOffsets(t, dir, oldest)
	// An attacker rewrites an entry and corrects every checksum.
	b := files[oldest]
	var h frame.Header
	if err := h.Parse(b[at[1]:]); err != nil {
		t.Fatal(err)
	}
	entries := testEntry(testEntry(nil, "A0"), "b0")
	encoder, err := frame.NewEncoder(frame.Fast, MaxBatch)
	if err != nil {
		t.Fatal(err)
	}
	forged := append(encoder.AppendChunk(slices.Clone(b[:at[1]]), &h, entries), b[at[2]:]...)
	writeDir(t, dir, map[string][]byte{oldest: forged})
	report, err := verify.Store(t.Context(), dir, verify.Options{EntryLen: testEntryLen})
	if err != nil {
		t.Fatal(err)
	}
	corrupt, ok := segment.AsCorrupt(report.Break)
	if !ok || corrupt.Kind != frame.KindHash || corrupt.Offset != int64(at[1]) {
		t.Errorf("verify reports %v, want a hash break at %d", report.Break, at[1])
	}
}

func TestNewerVersionIsNotCorruption(t *testing.T) {
	files, _ := smallStore(t)
	names := segmentNames(files)
	for name, change := range map[string]func(b []byte){
		"version": func(b []byte) { b[12] = 2 },
		"feature": func(b []byte) { b[16] = 4 },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			newer := slices.Clone(files[names[1]])
			change(newer)
			resum(newer)
			writeDir(t, dir, map[string][]byte{names[0]: files[names[0]], names[1]: newer})
			got, errs := readAll(readerTest(t, dir, Query{}))
			var incompatible *IncompatibleError
			if len(errs) != 1 || !errors.As(errs[0], &incompatible) || filepath.Base(incompatible.Segment) != names[1] {
				t.Errorf("errors %v, want one IncompatibleError naming %s", errs, names[1])
			}
			if len(got) != 3 {
				t.Errorf("read %v, want the segment before", texts(got))
			}
			if _, err := Open(context.Background(), dir, testOptions(newTestClock())); !errors.As(err, &incompatible) {
				t.Errorf("writer got %v, want an IncompatibleError", err)
			}
			report, err := verify.Store(t.Context(), dir, verify.Options{EntryLen: testEntryLen})
			if err != nil || !errors.As(report.Break, &incompatible) {
				t.Errorf("verify got %v, %v, want an IncompatibleError", report, err)
			}
		})
	}
}

// No memory is allocated for a payload that is larger than its header states.
func TestDecompressionBombIsRefused(t *testing.T) {
	files, _ := smallStore(t)
	oldest := segmentNames(files)[0]
	dir := t.TempDir()
	writeDir(t, dir, files)
	at := chunkOffsets(t, dir, oldest)
	b := files[oldest]
	for name, single := range map[string]bool{"with content size": true, "streamed": false} {
		t.Run(name, func(t *testing.T) {
			payload := bomb(t, single)
			var h frame.Header
			if err := h.Parse(b[at[1]:]); err != nil {
				t.Fatal(err)
			}
			h.Compressed = uint32(len(payload))
			h.PayloadSum = crc32.Checksum(payload, crc32.MakeTable(crc32.Castagnoli))
			armed := slices.Clone(b[:at[1]])
			armed = append(armed, make([]byte, h.Size())...)
			h.Put(armed[at[1]:])
			armed = append(append(armed, payload...), b[at[2]:]...)
			writeDir(t, dir, map[string][]byte{oldest: armed})
			r := readerTest(t, dir, Query{})
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			got, errs := readAll(r)
			runtime.ReadMemStats(&after)
			if used := after.TotalAlloc - before.TotalAlloc; used > 4*frame.MaxUncompressed {
				t.Errorf("reading allocated %d bytes", used)
			}
			if len(errs) != 1 {
				t.Fatalf("errors %v, want one", errs)
			}
			if corrupt, ok := segment.AsCorrupt(errs[0]); !ok || corrupt.Kind != frame.KindPayload {
				t.Errorf("got %v, want a corrupt payload", errs[0])
			}
			if len(got) != 4 {
				t.Errorf("read %v, want all but one chunk", texts(got))
			}
		})
	}
}

// bomb compresses 1 GiB of zeros.
func bomb(t *testing.T, single bool) []byte {
	t.Helper()
	var out bytes.Buffer
	options := []zstd.EOption{zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderCRC(true), zstd.WithWindowSize(8 << 20)}
	z, err := zstd.NewWriter(&out, options...)
	if err != nil {
		t.Fatal(err)
	}
	const size = 1 << 30
	if single {
		z.ResetContentSize(&out, size)
	}
	zeros := make([]byte, 1<<20)
	for range size / len(zeros) {
		if _, err := z.Write(zeros); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// FuzzDamagedStore flips and removes bytes: reading ends, returns only written entries,
// and never holds more than a chunk.
func FuzzDamagedStore(f *testing.F) {
	files, all := smallStore(f)
	names := segmentNames(files)
	f.Add([]byte{0, 0, 20, 1, 1, 0, 200, 255})
	f.Fuzz(func(t *testing.T, edits []byte) {
		dir := t.TempDir()
		damaged := map[string][]byte{}
		for _, name := range names {
			damaged[name] = slices.Clone(files[name])
		}
		for len(edits) >= 4 {
			name := names[int(edits[0])%len(names)]
			b := damaged[name]
			if at := int(binary.LittleEndian.Uint16(edits[1:])); at < len(b) {
				switch edits[3] {
				case 0:
					damaged[name] = b[:at]
				case 1:
					damaged[name] = append(b[:at:at], b[at+1:]...)
				default:
					b[at] ^= edits[3]
				}
			}
			edits = edits[4:]
		}
		writeDir(t, dir, damaged)
		forward := readerTest(t, dir, Query{})
		forwards := readDamaged(t, func() (*Chunk, error) { return forward.Next(t.Context()) })
		if !subsequence(forwards, all) {
			t.Errorf("forwards: read %v of %v", forwards, all)
		}
		r := readerTest(t, dir, Query{})
		if err := r.SeekNewest(); err != nil {
			t.Fatal(err)
		}
		backwards := readDamaged(t, r.Previous)
		for _, entry := range backwards {
			if !slices.Contains(all, entry) {
				t.Errorf("backwards: %v was never written", entry)
			}
		}
		if _, err := verify.Store(context.Background(), dir, verify.Options{EntryLen: testEntryLen}); err != nil {
			t.Error(err)
		}
		if _, err := verify.Inspect(context.Background(), dir, nil); err != nil {
			t.Error(err)
		}
		w, err := Open(context.Background(), dir, testOptions(newTestClock()))
		var incompatible *IncompatibleError
		if err != nil {
			if !errors.As(err, &incompatible) {
				t.Error(err)
			}
			return
		}
		appendTest(t, w, "new")
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
}

func readDamaged(t *testing.T, next func() (*Chunk, error)) (got []read) {
	t.Helper()
	for range 10_000 {
		c, err := next()
		if err == io.EOF {
			return got
		}
		if err != nil {
			continue
		}
		for sequence, entry := range c.All() {
			if text := testText(entry); text != metadataText {
				got = append(got, read{sequence, text})
			}
		}
	}
	t.Fatal("reading does not end")
	return nil
}
