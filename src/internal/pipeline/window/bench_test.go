// SPDX-License-Identifier: Apache-2.0

package window

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"crypto-auditing/src/internal/boottime"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/probe"
)

// recordedHandshake returns the hits of a recorded GnuTLS handshake, as the
// ring would give them.
func recordedHandshake(b *testing.B) []probe.Record {
	b.Helper()
	text, err := os.ReadFile("../../../../tests/data/probe-traces/gnutls-tls13-p256.txt")
	if err != nil {
		b.Fatal(err)
	}
	var records []probe.Record
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		r := probe.Record{PIDTGID: 6627<<32 | 6627, Library: library}
		r.NewContext = fields[5] == "new_context_with_data"
		if _, err := fmt.Sscanf(fields[6], "ctx=%x", &r.Context); err != nil {
			b.Fatalf("%q: %v", line, err)
		}
		fields = fields[7:]
		if r.NewContext {
			if _, err := fmt.Sscanf(fields[0], "parent=%x", &r.Parent); err != nil {
				b.Fatalf("%q: %v", line, err)
			}
			r.Executable = []byte("replay")
			fields = fields[1:]
		}
		var number, of int
		if _, err := fmt.Sscanf(fields[0], "[%d/%d]", &number, &of); err != nil {
			b.Fatalf("%q: %v", line, err)
		}
		_, value, _ := strings.Cut(strings.TrimSpace(line), " = ")
		e := probe.Element{Key: []byte(fields[1]), Type: probe.String, Bytes: []byte(strings.Trim(value, `"`))}
		if _, err := fmt.Sscanf(value, "word %d", &e.Word); err == nil {
			e.Type, e.Bytes = probe.Word, nil
		}
		if number == 1 {
			records = append(records, r)
		}
		last := &records[len(records)-1]
		last.Elements = append(last.Elements, e)
	}
	return records
}

// BenchmarkPipeline takes recorded handshakes, with fresh ids for each, from
// ring records to a log on the disk. It reports the processor time of both
// goroutines: its wall time is that of the slower one.
func BenchmarkPipeline(b *testing.B) {
	records := recordedHandshake(b)
	values := 0
	for i := range records {
		values += len(records[i].Elements)
	}
	w := testWindow(b)
	writer, err := logstore.Open(context.Background(), b.TempDir(), logstore.Options{
		EntryLen: event.Len,
		Metadata: func(now logstore.Moment) []byte { return event.AppendMetadata(nil, 0, now.Boot) },
		// One segment, so that none is synced in between.
		SegmentSize: 1 << 40, SyncInterval: -1,
	})
	if err != nil {
		b.Fatal(err)
	}
	const queued = 4
	full, free := make(chan *Batch, queued), make(chan *Batch, queued)
	for range queued {
		free <- &Batch{}
	}
	done := make(chan error, 1)
	go func() {
		var err error
		for out := range full {
			if err == nil {
				_, err = writer.Append(out.Batch)
			}
			free <- out
		}
		done <- err
	}()
	flush := func() {
		out := <-free
		out.Reset()
		w.Flush(out)
		full <- out
	}
	var fresh uint64
	b.ReportAllocs()
	before := processorTime()
	for b.Loop() {
		fresh += 1 << 20
		at := boottime.Now()
		for i := range records {
			r := records[i]
			r.Time = at + uint64(i)*uint64(time.Microsecond)
			r.Context += fresh
			if r.Parent != event.NoParent {
				r.Parent += fresh
			}
			w.Take(&r)
			if w.Full() {
				flush()
			}
		}
	}
	flush()
	close(full)
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	total := float64(b.N) * float64(values)
	b.ReportMetric(float64(processorTime()-before)/total, "cpu-ns/value")
	if err := writer.Close(); err != nil {
		b.Fatal(err)
	}
}

// processorTime returns what this process has used.
func processorTime() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t) // every kernel has it
	return time.Duration(t.Nano())
}
