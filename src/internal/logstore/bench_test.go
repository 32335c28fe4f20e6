// SPDX-License-Identifier: Apache-2.0

package logstore_test

import (
	stdcontext "context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/logstore/file"
	"crypto-auditing/src/internal/logstore/segment"
)

// busy is the number of handshakes in a window of 100 ms under load.
const busy = 100

func size(tb testing.TB, dir string) (total int64) {
	tb.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "audit-*"))
	fail(tb, err)
	for _, name := range names {
		info, err := os.Stat(name)
		fail(tb, err)
		total += info.Size()
	}
	return total
}

func open(tb testing.TB, dir string, opts logstore.Options) *logstore.Writer {
	tb.Helper()
	w, err := logstore.Open(stdcontext.Background(), dir, opts)
	fail(tb, err)
	tb.Cleanup(func() { _ = w.Close() })
	return w
}

func reader(tb testing.TB, dir string, query logstore.Query) *logstore.Reader {
	tb.Helper()
	r, err := logstore.OpenReader(dir, logstore.ReaderOptions{EntryLen: event.Len, Query: query})
	fail(tb, err)
	return r
}

// clone copies a batch, whose terms Append reorders.
func clone(b logstore.Batch) logstore.Batch {
	b.Terms = slices.Clone(b.Terms)
	return b
}

// batches makes batches that are appended repeatedly.
func batches(tb testing.TB, n int) (all []logstore.Batch) {
	l := newLoad(tb)
	for range n {
		all = append(all, l.batch(busy, "hsbench"))
	}
	return all
}

// add appends until done returns true.
func add(tb testing.TB, w *logstore.Writer, all []logstore.Batch, done func(events int, offset int64) bool) (events int) {
	tb.Helper()
	for i := 0; ; i++ {
		b := clone(all[i%len(all)])
		p, err := w.Append(b)
		if err != nil {
			_, err = w.Flush()
			fail(tb, err)
			continue
		}
		events += int(b.Events)
		if done(events, p.Offset) {
			_, err := w.Flush()
			fail(tb, err)
			return events
		}
	}
}

// BenchmarkBytesPerEvent measures the bytes of an event on disk, by the number of
// handshakes in a chunk. Each handshake has fresh ids.
func BenchmarkBytesPerEvent(b *testing.B) {
	for _, handshakes := range []int{1, 10, busy} {
		b.Run(fmt.Sprintf("handshakes=%d", handshakes), func(b *testing.B) {
			for b.Loop() {
				dir := b.TempDir()
				w := open(b, dir, eventOptions())
				l := newLoad(b)
				events, values := 0, 0
				for range 14_000 / handshakes {
					batch := l.batch(handshakes, "hsbench")
					events += int(batch.Events)
					values += handshakes * l.values
					_, err := w.Append(batch)
					fail(b, err)
				}
				err := rotate(w)
				fail(b, err)
				active := float64(size(b, dir))
				fail(b, w.Seal(stdcontext.Background(), func(s logstore.Sealed) { fail(b, s.Err) }))
				sealed := float64(size(b, dir))
				b.ReportMetric(active/float64(events), "active-B/event")
				b.ReportMetric(active/float64(values), "active-B/value")
				b.ReportMetric(sealed/float64(events), "sealed-B/event")
				b.ReportMetric(sealed/float64(values), "sealed-B/value")
			}
		})
	}
}

// BenchmarkAppend measures the cost of an event from the batch to the page cache.
func BenchmarkAppend(b *testing.B) {
	systems := map[string]file.System{"pwrite": file.Plain{}}
	if best, err := file.Best(); err == nil {
		systems["io_uring"] = best
	}
	all := batches(b, 10)
	for name, system := range systems {
		b.Run(name, func(b *testing.B) {
			opts := eventOptions()
			opts.Files = system
			w := open(b, b.TempDir(), opts)
			events := 0
			b.ReportAllocs()
			for b.Loop() {
				events = add(b, w, all, func(events int, _ int64) bool { return events >= 100_000 })
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*events), "ns/event")
		})
	}
}

// BenchmarkScan reads a store in order and decodes every event, in one
// goroutine.
func BenchmarkScan(b *testing.B) {
	dir := b.TempDir()
	w := open(b, dir, eventOptions())
	events := add(b, w, batches(b, 50), func(events int, _ int64) bool { return events >= 2_000_000 })
	scan := func(b *testing.B, decode bool) {
		for b.Loop() {
			r := reader(b, dir, logstore.Query{})
			got := 0
			var g event.Group
			for {
				c, err := r.Next(b.Context())
				if err == io.EOF {
					break
				}
				fail(b, err)
				if !decode {
					got += int(c.Header.Events)
					continue
				}
				for _, entry := range c.All() {
					_, err := event.Decode(entry, &g)
					fail(b, err)
					if !g.IsMetadata() {
						got += len(g.Events)
					}
				}
				fail(b, c.Err())
			}
			r.Close()
			if got != events {
				b.Fatalf("%d events of %d", got, events)
			}
		}
		b.ReportMetric(float64(b.N*events)/b.Elapsed().Seconds(), "events/s")
	}
	for _, state := range []string{"active", "sealed"} {
		b.Run(state+"/decoded", func(b *testing.B) { scan(b, true) })
		b.Run(state+"/chunks", func(b *testing.B) { scan(b, false) })
		err := rotate(w)
		fail(b, err)
		fail(b, w.Seal(stdcontext.Background(), func(s logstore.Sealed) { fail(b, s.Err) }))
	}
}

// BenchmarkRecovery opens a store whose last segment has 128 MiB and was not closed.
func BenchmarkRecovery(b *testing.B) {
	for name, all := range map[string][]logstore.Batch{"chunks of a busy machine": batches(b, 50), "chunks of one group": {idleBatch(b)}} {
		b.Run(name, func(b *testing.B) {
			dir := b.TempDir()
			opts := eventOptions()
			opts.SegmentSize = 1 << 30
			opts.QueueSize = 8 << 20
			w := open(b, dir, opts)
			add(b, w, all, func(_ int, offset int64) bool { return offset >= 128<<20 })
			fail(b, w.Close())
			for b.Loop() {
				w := open(b, dir, opts)
				b.StopTimer()
				name := filepath.Join(dir, w.Status().Segment)
				fail(b, w.Close())
				fail(b, os.Remove(name))
				b.StartTimer()
			}
			b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N), "ms/op")
		})
	}
}

// idleBatch returns a batch of an idle machine.
func idleBatch(tb testing.TB) logstore.Batch {
	b := newLoad(tb).batch(1, "hsbench")
	n, err := event.Len(b.Entries)
	fail(tb, err)
	b.Entries, b.Ends, b.Events = b.Entries[:n], []uint32{uint32(n)}, 5
	return b
}

// clock is moved by hand.
type clock struct{ now atomic.Uint64 }

func (c *clock) Now() logstore.Moment {
	return logstore.Moment{Boot: c.now.Load(), Offset: 1_700_000_000e9}
}

// segments makes a store of n sealed segments, each of three windows.
func segments(b *testing.B, dir string, n int) {
	b.Helper()
	opts := eventOptions()
	c := new(clock)
	opts.Clock = c
	w := open(b, dir, opts)
	all := batches(b, 5)
	for range n {
		for i := range 3 {
			batch := clone(all[i])
			batch.First = c.now.Add(100e6)
			batch.Last = batch.First + 99e6
			_, err := w.Append(batch)
			fail(b, err)
		}
		c.now.Add(100e6)
		err := rotate(w)
		fail(b, err)
	}
	fail(b, w.Seal(stdcontext.Background(), func(s logstore.Sealed) { fail(b, s.Err) }))
	fail(b, w.Close())
}

// BenchmarkThousandSegments opens a store of 1,000 segments and seeks in it.
func BenchmarkThousandSegments(b *testing.B) {
	dir := b.TempDir()
	segments(b, dir, 1000)
	list, err := segment.List(dir)
	fail(b, err)
	middle := list[len(list)/2] + 700
	at := func() int64 {
		r := reader(b, dir, logstore.Query{})
		defer r.Close()
		_, err := r.Seek(logstore.Cursor{Store: r.Store(), Sequence: middle})
		fail(b, err)
		c, err := r.Next(b.Context())
		fail(b, err)
		return c.RealTime(c.Header.First)
	}()
	run := func(name string, work func(b *testing.B)) {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				work(b)
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/1e3/float64(b.N), "ms/op")
		})
	}
	run("seek cursor", func(b *testing.B) {
		r := reader(b, dir, logstore.Query{})
		defer r.Close()
		_, err := r.Seek(logstore.Cursor{Store: r.Store(), Sequence: middle})
		fail(b, err)
		c, err := r.Next(b.Context())
		fail(b, err)
		if c.First != middle+1 {
			b.Fatalf("at %d, want %d", c.First, middle+1)
		}
	})
	run("seek time", func(b *testing.B) {
		r := reader(b, dir, logstore.Query{Since: at})
		defer r.Close()
		fail(b, r.SeekTime(stdcontext.Background(), at))
		c, err := r.Next(b.Context())
		fail(b, err)
		if c.First > middle+1 || c.Last <= middle {
			b.Fatalf("at %d to %d, want %d", c.First, c.Last, middle+1)
		}
	})
	run("tail", func(b *testing.B) {
		r := reader(b, dir, logstore.Query{})
		defer r.Close()
		fail(b, r.SeekNewest())
		for n := 0; n < 10; {
			c, err := r.Previous()
			fail(b, err)
			n += int(c.Last - c.First + 1)
		}
	})
}

// BenchmarkSelective searches for an executable that is in one of 1,000 chunks.
func BenchmarkSelective(b *testing.B) {
	dir := b.TempDir()
	opts := eventOptions()
	opts.SegmentSize = 32 << 20
	w := open(b, dir, opts)
	all := batches(b, 50)
	l := newLoad(b)
	total := 0
	for i := range 1400 {
		batch := clone(all[i%len(all)])
		if i == 700 {
			rare := l.batch(1, "rare")
			before := uint32(len(batch.Entries))
			batch.Entries = append(slices.Clone(batch.Entries), rare.Entries...)
			batch.Ends = slices.Clone(batch.Ends)
			for _, end := range rare.Ends {
				batch.Ends = append(batch.Ends, before+end)
			}
			batch.Events += rare.Events
			batch.Terms = append(batch.Terms, rare.Terms...)
		}
		total += int(batch.Events)
		_, err := w.Append(batch)
		fail(b, err)
		_, err = w.Flush()
		fail(b, err)
	}
	find := func(b *testing.B, query logstore.Query) (found int) {
		r := reader(b, dir, query)
		defer r.Close()
		var g event.Group
		for {
			c, err := r.Next(b.Context())
			if err == io.EOF {
				return found
			}
			fail(b, err)
			for _, entry := range c.All() {
				_, err := event.Decode(entry, &g)
				fail(b, err)
				if string(g.Executable) == "rare" {
					found++
				}
			}
		}
	}
	query := logstore.Query{Terms: [][]logstore.Term{{logstore.NewTerm(logstore.Executable, "rare")}}}
	for _, state := range []string{"active", "sealed"} {
		want := find(b, logstore.Query{})
		for name, q := range map[string]logstore.Query{"filtered": query, "unfiltered": {}} {
			b.Run(state+"/"+name, func(b *testing.B) {
				for b.Loop() {
					if got := find(b, q); got != want || got == 0 {
						b.Fatalf("found %d, want %d", got, want)
					}
				}
				b.ReportMetric(float64(total), "events")
				b.ReportMetric(float64(b.Elapsed().Microseconds())/1e3/float64(b.N), "ms/op")
			})
		}
		err := rotate(w)
		fail(b, err)
		fail(b, w.Seal(stdcontext.Background(), func(s logstore.Sealed) { fail(b, s.Err) }))
	}
}

// BenchmarkBaseline measures zstd(1) and cat(1) on the same events: the raw CBOR sequence
// compressed and decompressed, and the log read and discarded.
func BenchmarkBaseline(b *testing.B) {
	dir := b.TempDir()
	w := open(b, dir, eventOptions())
	all := batches(b, 50)
	events := add(b, w, all, func(events int, _ int64) bool { return events >= 1_000_000 })
	raw, err := os.Create(filepath.Join(dir, "raw"))
	fail(b, err)
	for i, done := 0, 0; done < events; i++ {
		_, err := raw.Write(all[i%len(all)].Entries)
		fail(b, err)
		done += int(all[i%len(all)].Events)
	}
	fail(b, raw.Close())
	run := func(name string, output string, command ...string) {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				out, err := exec.Command(command[0], command[1:]...).CombinedOutput()
				if err != nil {
					b.Fatalf("%v: %s", err, out)
				}
			}
			b.ReportMetric(float64(b.N*events)/b.Elapsed().Seconds(), "events/s")
			if output != "" {
				info, err := os.Stat(output)
				fail(b, err)
				b.ReportMetric(float64(info.Size())/float64(events), "B/event")
			}
		})
	}
	packed := filepath.Join(dir, "raw.zst")
	for _, level := range []string{"-1", "-3", "-9"} {
		run("zstd "+level, packed, "zstd", "-q", "-f", level, raw.Name(), "-o", packed)
	}
	log := filepath.Join(dir, w.Status().Segment)
	run("zstdcat of the log", "", "sh", "-c", "zstdcat "+log+" >/dev/null")
	run("cat of the log", "", "sh", "-c", "cat "+log+" >/dev/null")
}

// rotate begins a segment and waits until it is durable.
func rotate(w *logstore.Writer) error {
	rotated := make(chan error, 1)
	w.Rotate(func(_ string, err error) { rotated <- err })
	return <-rotated
}
