// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"crypto-auditing/src/internal/event"
)

// randomGroup returns a group of one of few contexts, which are reopened and have many keys,
// long values and names.
func randomGroup(r *rand.Rand, at uint64) event.Group {
	names := []string{"tls::handshake", "tls::key_exchange", "tls::sign", "pk::derive", "x::y"}
	g := event.Group{Context: event.ContextID{1 + byte(r.IntN(40))}, Start: at, End: at, Executable: []byte(names[r.IntN(5)])}
	if r.IntN(3) == 0 {
		g.Unit, g.Source = []byte("x.service"), []byte(event.Wire)
	}
	if r.IntN(3) > 0 {
		g.Events = append(g.Events, event.Event{Kind: event.NewContext, Parent: event.ContextID{1 + byte(r.IntN(50))}, Origin: []byte{byte(r.IntN(3))}})
	}
	for range 1 + r.IntN(3) {
		e := event.Event{Key: []byte("name"), Value: event.Value{Kind: event.String, Bytes: []byte(names[r.IntN(5)])}}
		switch r.IntN(4) {
		case 0:
			e = event.Event{Key: []byte{'k', byte(r.IntN(40))}, Value: event.Value{Word: r.Int64()}}
		case 1:
			e = event.Event{Key: []byte{'k', byte(r.IntN(40))}, Value: event.Value{Kind: event.Blob, Bytes: make([]byte, r.IntN(600)), Truncated: r.IntN(2) > 0}}
			for i := range e.Value.Bytes {
				e.Value.Bytes[i] = byte(r.Uint32())
			}
		}
		g.Events = append(g.Events, e)
	}
	return g
}

// describe writes all fields of a tree.
func describe(w *strings.Builder, s *Span) {
	fmt.Fprintf(w, "%x %q %q %q %q %q %q %d %d %d %v %v {", s.Context, s.Name, s.Origin, s.Executable, s.Unit, s.Source, s.Joined, s.Start, s.End, s.Last, s.Headless, s.Cut)
	for i := range s.Data {
		d := &s.Data[i]
		found, ok := s.Value(d.Key)
		fmt.Fprintf(w, "%q %d %d %x %v %v %v,", d.Key, d.Value.Kind, d.Value.Word, d.Value.Bytes, d.Value.Truncated, d.Value.Unreadable, ok && found.Word == d.Value.Word)
	}
	for _, inner := range s.Spans {
		describe(w, inner)
	}
	w.WriteString("}\n")
}

func TestTreesAreTheSameInReusedMemory(t *testing.T) {
	r, err := Builtin()
	if err != nil {
		t.Fatal(err)
	}
	for seed := range uint64(16) {
		options := Options{MaxBytes: 40_000, Ordered: seed%2 == 0}
		var fresh, reused strings.Builder
		build := func(emit func(*Builder, *Span)) {
			random := rand.New(rand.NewPCG(seed, 3))
			var b *Builder
			b = NewBuilder(r, options, func(root *Span) { emit(b, root) })
			for i := range uint64(3000) {
				g := randomGroup(random, i)
				b.Add(&g, 0)
				if random.IntN(100) == 0 {
					b.Flush(int64(i) - 50)
				}
			}
			b.Close()
		}
		build(func(_ *Builder, root *Span) { describe(&fresh, root) })
		var waiting []*Span
		build(func(b *Builder, root *Span) {
			// Trees are released later, like by a printer with a queue.
			if waiting = append(waiting, root); len(waiting) > 7 {
				describe(&reused, waiting[0])
				b.Release(waiting[0])
				waiting = waiting[1:]
			}
		})
		for _, root := range waiting {
			describe(&reused, root)
		}
		if fresh.String() != reused.String() {
			t.Fatalf("seed %d: trees differ", seed)
		}
	}
}

func TestMemoryKeptForReuseIsBounded(t *testing.T) {
	var m memory
	s := new(Span)
	for i := range 100 {
		s.set(fmt.Sprint(i), &event.Value{Kind: event.Blob, Bytes: make([]byte, 1<<16)})
		s.Spans = append(s.Spans, &Span{})
	}
	m.release(s)
	for range 3 * maxFree {
		m.release(new(Span))
	}
	if len(m.spans) > maxFree {
		t.Errorf("%d spans are kept, want at most %d", len(m.spans), maxFree)
	}
	for _, s := range m.spans {
		if len(s.Data) > 0 || len(s.Spans) > 0 || cap(s.Data) > maxFreeData || cap(s.Spans) > maxFreeSpans {
			t.Fatalf("a span with room for %d keys and %d spans is kept", cap(s.Data), cap(s.Spans))
		}
	}
}
