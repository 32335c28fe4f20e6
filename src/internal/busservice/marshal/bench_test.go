// SPDX-License-Identifier: Apache-2.0

package marshal

import (
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"crypto-auditing/src/internal/broker/brokertest"
	"crypto-auditing/src/internal/broker/filter"
	"crypto-auditing/src/internal/broker/operations"
	"crypto-auditing/src/internal/broker/reading"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/schema"
)

// writeHandshakes writes a log of operations of five contexts with one group each. All ids
// are different.
func writeHandshakes(b *testing.B, groups int) *brokertest.Log {
	b.Helper()
	contexts := []struct {
		name, key string
		value     int64
		parent    int
	}{
		{"tls::handshake_client", "tls::protocol_version", 772, -1},
		{"tls::key_exchange", "tls::group", 29, 0},
		{"pk::derive", "pk::bits", 256, 1},
		{"tls::verify", "tls::signature_algorithm", 1027, 0},
		{"pk::verify", "pk::bits", 3072, 3},
	}
	r := rand.New(rand.NewPCG(1, 1))
	var ids [5]event.ContextID
	log := brokertest.New(b)
	now := logstore.SystemClock{}.Now().Boot - uint64(groups)*1e3 - uint64(time.Minute)
	origin, executable := []byte("0123456789abcdef0123"), []byte("curl")
	var chunk []event.Group
	for n := range groups {
		i := n % len(contexts)
		binary.LittleEndian.PutUint64(ids[i][:], r.Uint64())
		binary.LittleEndian.PutUint64(ids[i][8:], r.Uint64())
		c := contexts[i]
		g := event.Group{
			Context: ids[i], Start: now + uint64(n)*1e3, End: now + uint64(n)*1e3, Name: []byte(c.name), Executable: executable, Origin: origin,
			Events: []event.Event{
				{Kind: event.NewContext, Origin: origin, Executable: executable, Parent: event.ContextID{1}},
				{Key: []byte("name"), Value: event.Value{Kind: event.String, Bytes: []byte(c.name)}},
				{Key: []byte(c.key), Value: event.Value{Word: c.value}},
			},
		}
		if c.parent >= 0 {
			g.Events[0].Parent = ids[c.parent]
		}
		if chunk = append(chunk, g); len(chunk) == 3000 {
			log.Write(chunk...)
			chunk = chunk[:0]
		}
	}
	log.Flush()
	return log
}

// processorTime returns the processor time that the process has used.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkReadOperations measures the time per group to read all pages of a log with
// ReadOperations, without the bus.
func BenchmarkReadOperations(b *testing.B) {
	const groups = 150_000
	log := writeHandshakes(b, groups)
	registry, err := schema.Builtin()
	if err != nil {
		b.Fatal(err)
	}
	all, err := filter.Compile(registry, filter.Spec{})
	if err != nil {
		b.Fatal(err)
	}
	s := &operations.Source{
		Registry: registry, Log: reading.NewLog(log.Dir, slog.New(slog.NewTextHandler(io.Discard, nil))),
		Library: func(string) string { return "" }, Now: time.Now,
	}
	defer s.Close()
	oldest, err := s.Log.Resolve(logstore.OldestWord)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	bytes, before := 0, processorTime(b)
	for b.Loop() {
		n := 0
		o := operations.Options{Filter: all, Encoder: InReplies, Most: operations.MaxOperations, Size: reading.MaxPage, After: oldest}
		for {
			page, err := s.Read(context.Background(), o)
			if err != nil {
				b.Fatal(err)
			}
			if page.Next == o.After {
				break
			}
			o.After = page.Next
			n += len(page.Ends)
			bytes += len(page.Bytes)
		}
		if n < groups/5-1 {
			b.Fatalf("%d operations of %d groups", n, groups)
		}
	}
	b.ReportMetric(b.Elapsed().Seconds()*1e6/float64(b.N*groups), "us/group")
	b.ReportMetric((processorTime(b)-before).Seconds()*1e6/float64(b.N*groups), "cpu-us/group")
	b.ReportMetric(float64(bytes)/float64(b.N*groups), "bytes/group")
}
