// SPDX-License-Identifier: Apache-2.0

package schema_test

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"testing"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/schema"
)

// handshakeGroups returns a function that returns the groups of consecutive handshakes, each
// of five contexts with new ids. A group is valid until the next call.
func handshakeGroups(b *testing.B) func() *event.Group {
	b.Helper()
	block, err := aes.NewCipher(make([]byte, 16))
	if err != nil {
		b.Fatal(err)
	}
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
	groups := make([]event.Group, len(contexts))
	for i, c := range contexts {
		origin, executable := []byte("0123456789abcdef0123"), []byte("curl")
		groups[i] = event.Group{Name: []byte(c.name), Executable: executable, Origin: origin, Events: []event.Event{
			{Kind: event.NewContext, Origin: origin, Executable: executable},
			{Key: []byte("name"), Value: event.Value{Kind: event.String, Bytes: []byte(c.name)}},
			{Key: []byte(c.key), Value: event.Value{Word: c.value}},
		}}
	}
	n := uint64(0)
	return func() *event.Group {
		i := int(n) % len(contexts)
		g := &groups[i]
		freshID(block, &g.Context, n+1)
		if parent := contexts[i].parent; parent >= 0 {
			freshID(block, &g.Events[0].Parent, n-uint64(i)+uint64(parent)+1)
		}
		g.Start, g.End = n*1e3, n*1e3
		n++
		return g
	}
}

func freshID(block cipher.Block, id *event.ContextID, n uint64) {
	*id = event.ContextID{}
	binary.LittleEndian.PutUint64(id[:], n)
	block.Encrypt(id[:], id[:])
}

// warm is the number of groups after which a builder returns as many trees as it opens.
const warm = 200_000

// BenchmarkTrees measures the time per group to read all trees of a long log once.
func BenchmarkTrees(b *testing.B) {
	for name, ordered := range map[string]bool{"ordered": true, "as complete": false} {
		b.Run(name, func(b *testing.B) {
			next := handshakeGroups(b)
			var builder *schema.Builder
			builder = schema.NewBuilder(registry(b), schema.Options{Ordered: ordered}, func(root *schema.Span) { builder.Release(root) })
			for range warm {
				builder.Add(next(), 0)
			}
			b.ReportAllocs()
			for b.Loop() {
				builder.Add(next(), 0)
			}
			b.ReportMetric(b.Elapsed().Seconds()*1e6/float64(b.N), "us/group")
		})
	}
}
