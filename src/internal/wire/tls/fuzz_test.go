// SPDX-License-Identifier: Apache-2.0

package tls_test

import (
	"crypto/elliptic"
	gotls "crypto/tls"
	"testing"

	"crypto-auditing/src/internal/wire/tls"
	"crypto-auditing/src/internal/wire/wiretest"
)

// FuzzParser passes two directions to the parser, in portions that the input chooses.
// The parser must not panic, must stay within its bound, and the portions must not matter.
func FuzzParser(f *testing.F) {
	certificate := wiretest.Certificate(f, elliptic.P256())
	for _, version := range []uint16{gotls.VersionTLS12, gotls.VersionTLS13} {
		h := wiretest.TLS(f, &gotls.Config{InsecureSkipVerify: true, MaxVersion: version}, &gotls.Config{Certificates: []gotls.Certificate{certificate}})
		client, server := h.Stream(true), h.Stream(false)
		f.Add(client[:wiretest.Plain(client)], server[:wiretest.Plain(server)], uint8(13))
	}
	f.Fuzz(func(t *testing.T, sent, received []byte, size uint8) {
		var whole, cut tls.Parser
		whole.Data(false, sent)
		whole.Data(true, received)
		n := int(size) + 1
		for _, d := range []struct {
			received bool
			b        []byte
		}{{false, sent}, {true, received}} {
			for b := d.b; len(b) > 0; {
				k := min(n, len(b))
				cut.Data(d.received, b[:k])
				b = b[k:]
			}
		}
		if whole.Buffered() > 64<<10 || cut.Buffered() > 64<<10 {
			t.Fatalf("%d and %d bytes are kept", whole.Buffered(), cut.Buffered())
		}
		for _, p := range []*tls.Parser{&whole, &cut} {
			p.Skip(false, int(size))
			p.End(false)
			p.End(true)
			p.Finish()
		}
		if whole.Handshake != cut.Handshake {
			t.Fatalf("in one portion: %+v\nin portions of %d: %+v", whole.Handshake, n, cut.Handshake)
		}
	})
}
