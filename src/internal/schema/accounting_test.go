// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"math/rand/v2"
	"testing"

	"crypto-auditing/src/internal/event"
)

func TestMemoryOfReturnedTreesIsReleased(t *testing.T) {
	r, err := Builtin()
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"tls::handshake", "tls::key_exchange", "tls::sign", "pk::derive", "x::y"}
	for seed := range uint64(500) {
		random := rand.New(rand.NewPCG(seed, 2))
		b := NewBuilder(r, Options{MaxBytes: 30_000, Ordered: seed%2 == 0}, func(*Span) {})
		for i := range 300 {
			g := event.Group{Context: event.ContextID{1 + byte(random.IntN(6))}, Start: uint64(i), End: uint64(i)}
			switch random.IntN(3) {
			case 0:
				g.Events = []event.Event{{Kind: event.NewContext, Parent: event.ContextID{1 + byte(random.IntN(8))}}}
			case 1:
				g.Events = []event.Event{{Key: []byte("name"), Value: event.Value{Kind: event.String, Bytes: []byte(names[random.IntN(len(names))])}}}
			case 2:
				g.Events = []event.Event{{Key: []byte{'k', 'a' + byte(random.IntN(20))}, Value: event.Value{Kind: event.Blob, Bytes: make([]byte, random.IntN(50))}}}
			}
			b.Add(&g, 0)
			sum := 0
			for tree := range b.opened.all() {
				size := 0
				tree.root.walkHoles(func(s *Span) { size += s.size() })
				if size != tree.bytes {
					t.Fatalf("seed %d, group %d: a tree of %d bytes is counted as %d", seed, i, size, tree.bytes)
				}
				sum += size
			}
			if sum != b.bytes {
				t.Fatalf("seed %d, group %d: %d bytes are counted as %d", seed, i, sum, b.bytes)
			}
		}
		b.Close()
		if b.bytes != 0 || b.latest.Len() != 0 || b.opened.count != 0 || b.active.count != 0 {
			t.Fatalf("seed %d: %d bytes, %d ids, %d trees are left", seed, b.bytes, b.latest.Len(), b.opened.count)
		}
	}
}
