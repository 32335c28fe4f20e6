// SPDX-License-Identifier: Apache-2.0

package schema_test

import (
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/schema"
)

func TestNestingIsBounded(t *testing.T) {
	const n = 1000
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "new c%d c%d\n", i+1, i)
	}
	trees := roots(t, script(t, b.String()), schema.Options{})
	spans, deepest := 0, 0
	var walk func(s *schema.Span, depth int)
	walk = func(s *schema.Span, depth int) {
		spans, deepest = spans+1, max(deepest, depth)
		for _, inner := range s.Spans {
			walk(inner, depth+1)
		}
	}
	for _, s := range trees {
		walk(s, 1)
	}
	if len(trees) != 1 || spans != n || deepest != schema.MaxDepth {
		t.Errorf("%d contexts inside each other make %d trees with %d spans, %d deep; want 1 with all, %d deep",
			n, len(trees), spans, deepest, schema.MaxDepth)
	}
}

func TestMemoryIsBoundedForAnyInput(t *testing.T) {
	const limit = 4 << 20
	for name, group := range map[string]func(i int, g *event.Group){
		"endless roots": func(i int, g *event.Group) {
			g.Context = id(strconv.Itoa(i))
			g.Events = []event.Event{{Kind: event.NewContext}}
		},
		"one endless tree": func(i int, g *event.Group) {
			g.Context = id(strconv.Itoa(i))
			g.Events = []event.Event{{Kind: event.NewContext, Parent: id(strconv.Itoa(i / 2))}}
		},
		"endless data in one context": func(i int, g *event.Group) {
			g.Context = id("a")
			g.Events = []event.Event{{Key: []byte("k" + strconv.Itoa(i)), Value: event.Value{Kind: event.Blob, Bytes: make([]byte, 100)}}}
		},
		"data of contexts never opened": func(i int, g *event.Group) {
			g.Context = id(strconv.Itoa(i))
			g.Events = []event.Event{{Key: []byte("name"), Value: event.Value{Kind: event.String, Bytes: []byte("n" + strconv.Itoa(i))}}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			const n = 300_000
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			var events, given int
			count := func(s *schema.Span) {
				s.Walk(func(s *schema.Span) bool {
					given += len(s.Data)
					if !s.Headless {
						given++
					}
					return true
				})
			}
			b := schema.NewBuilder(registry(t), schema.Options{MaxBytes: limit, Ordered: true}, count)
			for i := range n {
				g := event.Group{Start: uint64(i), End: uint64(i)}
				group(i+1, &g)
				events += len(g.Events)
				b.Add(&g, 0)
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			if held := int64(after.HeapAlloc) - int64(before.HeapAlloc); held > 4*limit {
				t.Errorf("%d bytes are held, the limit is %d", held, limit)
			}
			b.Close()
			if given != events {
				t.Errorf("%d of %d events are in the trees", given, events)
			}
		})
	}
}

func FuzzBuilder(f *testing.F) {
	f.Add([]byte("\x00\x01\x02\x03\x10\x20\x30\x40"))
	f.Add([]byte("new contexts, names and data by the byte"))
	r := registry(f)
	names := []string{"tls::handshake", "tls::key_exchange", "tls::sign", "pk::derive", "x::y", "", "ssh::handshake", "nonsense"}
	f.Fuzz(func(t *testing.T, input []byte) {
		var events, given, depth int
		b := schema.NewBuilder(r, schema.Options{MaxBytes: 20_000, Ordered: len(input)%2 == 0}, func(s *schema.Span) {
			var walk func(s *schema.Span, level int)
			walk = func(s *schema.Span, level int) {
				for i := range s.Data {
					if s.Data[i].Key[0] == 'k' {
						given++
					}
				}
				depth = max(depth, level)
				for _, inner := range s.Spans {
					walk(inner, level+1)
				}
			}
			walk(s, 1)
		})
		for i, c := range input {
			g := event.Group{Context: event.ContextID{1 + c&7}, Start: uint64(i), End: uint64(i)}
			switch c >> 6 {
			case 0, 1:
				g.Events = []event.Event{{Kind: event.NewContext, Parent: event.ContextID{c >> 3 & 15}}}
			case 2:
				g.Events = []event.Event{{Key: []byte("name"), Value: event.Value{Kind: event.String, Bytes: []byte(names[c>>3&7])}}}
			case 3:
				g.Events = []event.Event{
					{Key: []byte("tls::group"), Value: event.Value{Word: int64(c)}},
					{Key: []byte("k" + strconv.Itoa(i)), Value: event.Value{Word: int64(c)}},
				}
				events++
			}
			b.Add(&g, 0)
			if c == 0xff {
				b.Flush(int64(i))
			}
		}
		b.Close()
		if given != events || depth > schema.MaxDepth {
			t.Errorf("%d of %d events are in the trees, which are %d deep", given, events, depth)
		}
	})
}
