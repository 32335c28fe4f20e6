// SPDX-License-Identifier: Apache-2.0

// Command filler writes a log for tests of programs that read one: groups like those
// of a GnuTLS handshake, in chunks, at a given rate. It prints the cursor after each
// chunk once it is committed, and flushes on SIGTERM. With --scan it reads a log as
// fast as the store can, for comparison.
package main

import (
	"bufio"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"

	"crypto-auditing/src/internal/entry"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
)

type options struct {
	dir           string
	groups        int
	chunks        int
	pause         time.Duration
	executables   int
	segmentChunks int
	quiet, seal   bool
	scan          bool
	rare          int
	fresh         cipher.Block // encrypts ids; nil: ids are counters
}

func main() {
	var o options
	flag.StringVar(&o.dir, "dir", "", "directory of the log")
	flag.IntVar(&o.groups, "groups", 100, "groups in a chunk")
	flag.IntVar(&o.chunks, "chunks", 10, "chunks; 0: until a signal")
	flag.DurationVar(&o.pause, "pause", 0, "time from one chunk to the next")
	flag.IntVar(&o.executables, "executables", 1, "names of programs, in turn")
	flag.IntVar(&o.segmentChunks, "segment-chunks", 0, "chunks in a segment; 0: any number")
	flag.BoolVar(&o.quiet, "quiet", false, "print only the last cursor")
	flag.BoolVar(&o.seal, "seal", false, "seal closed segments at the end")
	flag.BoolVar(&o.scan, "scan", false, "read the log instead, and print how many groups there are and how many seconds it took")
	flag.IntVar(&o.rare, "rare", 0, "chunks, spread over all, in which a handshake has the protocol version 771 instead of 772")
	fresh := flag.Bool("fresh", false, "ids as after encryption, of operations of five contexts inside each other")
	flag.Parse()
	if *fresh {
		// The fixed key makes logs reproducible.
		block, err := aes.NewCipher(make([]byte, 16))
		if err != nil {
			panic(err)
		}
		o.fresh = block
	}
	do := fill
	if o.scan {
		do = scan
	}
	if err := do(&o); err != nil {
		fmt.Fprintln(os.Stderr, "filler:", err)
		os.Exit(1)
	}
}

// scan decodes all groups of a log.
func scan(o *options) error {
	r, err := logstore.OpenReader(o.dir, logstore.ReaderOptions{EntryLen: event.Len})
	if err != nil {
		return err
	}
	defer r.Close()
	ahead := logstore.NewAhead(r)
	defer ahead.Stop()
	groups, began := 0, time.Now()
	var g event.Group
	for {
		chunk, err := ahead.Next(context.Background())
		if err == io.EOF {
			fmt.Println(groups, time.Since(began).Seconds())
			return nil
		}
		if err != nil {
			return err
		}
		for rest := chunk.Entries; len(rest) > 0; groups++ {
			n, err := event.Decode(rest, &g)
			if err != nil {
				return err
			}
			rest = rest[n:]
		}
	}
}

// maxChunk is the maximum size of the groups of a chunk, in bytes.
const maxChunk = logstore.MaxBatch - 4096

func fill(o *options) error {
	out := bufio.NewWriter(os.Stdout)
	var mu sync.Mutex
	w, err := logstore.Open(context.Background(), o.dir, logstore.Options{
		EntryLen: event.Len, SegmentSize: 1 << 40, Terms: entry.Terms(), QueueSize: 64 << 20,
		Metadata: func(now logstore.Moment) []byte {
			return event.AppendMetadata(nil, now.Offset/int64(time.Second), now.Boot)
		},
		Committed: func(p logstore.Position) {
			if o.quiet {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			fmt.Fprintln(out, p.Cursor)
			_ = out.Flush() // the reader may have closed the pipe
		},
	})
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	next := time.Now()
	for chunk := 0; (o.chunks == 0 || chunk < o.chunks) && ctx.Err() == nil; chunk++ {
		if o.segmentChunks > 0 && chunk > 0 && chunk%o.segmentChunks == 0 {
			if err := rotate(w); err != nil {
				return err
			}
		}
		b := batch(o, chunk)
		for {
			if _, err = w.Append(b); err == nil {
				break
			}
			time.Sleep(time.Millisecond) // the disk lags
		}
		next = next.Add(o.pause)
		select {
		case <-ctx.Done():
		case <-time.After(time.Until(next)):
		}
	}
	cursor, err := w.Flush()
	if err != nil {
		return err
	}
	if o.seal {
		if err := rotate(w); err != nil {
			return err
		}
		if err := w.Seal(context.Background(), func(logstore.Sealed) {}); err != nil {
			return err
		}
	}
	mu.Lock()
	fmt.Fprintln(out, cursor)
	err = out.Flush()
	mu.Unlock()
	return errors.Join(err, w.Close())
}

// batch makes a chunk. Its first group has the time of its creation in test::sent, in
// µs since the Unix epoch, for measurements of latency.
func batch(o *options, chunk int) logstore.Batch {
	now := logstore.SystemClock{}.Now()
	b := logstore.Batch{First: now.Boot, Last: now.Boot}
	if o.fresh != nil {
		b.First -= uint64(o.groups-1) * uint64(time.Microsecond)
	}
	set, values := map[uint64]struct{}{}, map[uint64]struct{}{}
	var terms []uint64
	rare := o.rare > 0 && chunk%(o.chunks/o.rare) == o.chunks/o.rare/2
	for i := 0; i < o.groups && len(b.Entries) < maxChunk; i++ {
		g := newGroup(o, uint64(chunk)*uint64(o.groups)+uint64(i), now.Boot)
		if at := len(g.Events) - 1; rare && g.Events[at].Value.Word == contexts()[0].value {
			g.Events[at].Value.Word, rare = 771, false
		}
		if i == 0 {
			g.Events = append(g.Events, event.Event{
				Key: []byte("test::sent"), Value: event.Value{Word: (int64(now.Boot) + now.Offset) / int64(time.Microsecond)},
			})
		}
		b.Entries = event.Append(b.Entries, g)
		b.End()
		b.Events += uint32(len(g.Events))
		terms = entry.AppendTerms(terms[:0], g)
		for _, t := range terms {
			set[t] = struct{}{}
		}
		terms = entry.AppendValues(terms[:0], g)
		for _, t := range terms {
			values[t] = struct{}{}
		}
	}
	b.Values = slices.AppendSeq(make([]uint64, 0, len(values)), maps.Keys(values))
	b.Terms = make([]uint64, 0, len(set))
	for t := range set {
		b.Terms = append(b.Terms, t)
	}
	return b
}

// contexts returns the contexts of a handshake, with typical data.
func contexts() []kind {
	return []kind{
		{"tls::handshake_client", "tls::protocol_version", 772, -1},
		{"tls::key_exchange", "tls::group", 29, 0},
		{"pk::derive", "pk::bits", 256, 1},
		{"tls::verify", "tls::signature_algorithm", 1027, 0},
		{"pk::verify", "pk::bits", 3072, 3},
	}
}

// kind is a context with an element.
type kind struct {
	name, key string
	value     int64
	parent    int // index of the context around it
}

// newGroup returns a group like the agent's.
func newGroup(o *options, n, now uint64) *event.Group {
	all := contexts()
	c := all[n%uint64(len(all))]
	executable := fmt.Appendf(nil, "program%d", n/uint64(len(all))%uint64(o.executables))
	g := &event.Group{
		Start: now, End: now, Name: []byte(c.name), Executable: executable, Origin: []byte("\x12\x34\x56\x78\x9a\xbc\xde\xf0"),
	}
	binary.LittleEndian.PutUint64(g.Context[:], n*0x9e3779b97f4a7c15+1)
	g.Events = append(g.Events, event.Event{Kind: event.NewContext, Origin: g.Origin, Executable: executable},
		event.Event{Key: []byte("name"), Value: event.Value{Kind: event.String, Bytes: g.Name}})
	binary.LittleEndian.PutUint64(g.Events[0].Parent[:], n)
	g.Events = append(g.Events, event.Event{Key: []byte(c.key), Value: event.Value{Word: c.value}})
	if o.fresh != nil {
		o.inside(g, n, now)
	}
	return g
}

// inside completes the group with the given number for operations: its context is
// inside its parent's, and all ids are new.
func (o *options) inside(g *event.Group, n, now uint64) {
	all := contexts()
	i := n % uint64(len(all))
	c := all[i]
	o.id(&g.Context, n+1)
	opened := &g.Events[0]
	o.id(&opened.Parent, 0) // of the thread
	if c.parent >= 0 {
		o.id(&opened.Parent, n-i+uint64(c.parent)+1)
	}
	g.Start = now - uint64(o.groups-1)*uint64(time.Microsecond) + n%uint64(o.groups)*uint64(time.Microsecond)
	g.End = g.Start
}

// id makes an id from a number, encrypted like the agent's.
func (o *options) id(id *event.ContextID, n uint64) {
	*id = event.ContextID{}
	binary.LittleEndian.PutUint64(id[:], n)
	o.fresh.Encrypt(id[:], id[:])
}

// rotate begins a segment and waits until it is durable.
func rotate(w *logstore.Writer) error {
	rotated := make(chan error, 1)
	w.Rotate(func(_ string, err error) { rotated <- err })
	return <-rotated
}
