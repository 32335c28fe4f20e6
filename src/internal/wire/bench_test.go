// SPDX-License-Identifier: Apache-2.0

package wire_test

import (
	gotls "crypto/tls"
	"encoding/binary"
	"testing"

	"crypto-auditing/src/internal/wire"
)

// The benchmarks report the time for one side, from its fragments to the operation.
func BenchmarkHandshake(b *testing.B) {
	for name, client := range map[string]*gotls.Config{
		"X25519":         {CurvePreferences: []gotls.CurveID{gotls.X25519}},
		"X25519MLKEM768": {CurvePreferences: []gotls.CurveID{gotls.X25519MLKEM768}},
		"TLS12":          {MaxVersion: gotls.VersionTLS12},
	} {
		b.Run(name, func(b *testing.B) {
			h := handshake(b, client, &gotls.Config{})
			for part, use := range map[string]func(*wire.Handshake){"parser": func(*wire.Handshake) {}, "operation": func(h *wire.Handshake) { h.Operation() }} {
				b.Run(part, func(b *testing.B) {
					sides := [][]wire.Fragment{fragments(&h, side{1, 7, clientTask, true}), fragments(&h, side{2, 7, serverTask, false})}
					// In both, the first fragment is the hello: the headers of a record
					// and of a message, a version, and the random value.
					const random = 5 + 4 + 2
					given := 0
					r := wire.NewTracker(wire.DefaultLimits(), nil, func(h *wire.Handshake) { use(h); given++ })
					b.ReportAllocs()
					n := 0
					for b.Loop() {
						side := sides[n%2]
						// Each handshake needs another random value.
						binary.BigEndian.PutUint64(side[0].Data[random:], uint64(n/2))
						for i := range side {
							f := side[i]
							f.Connection, f.Time = uint64(n+1), f.Time+uint64(n)*1000
							r.Add(&f)
						}
						n++
					}
					if given != n {
						b.Fatalf("%d of %d handshakes", given, n)
					}
				})
			}
		})
	}
}
