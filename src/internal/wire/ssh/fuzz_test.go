// SPDX-License-Identifier: Apache-2.0

package ssh_test

import (
	"testing"

	"crypto-auditing/src/internal/wire/ssh"
	"crypto-auditing/src/internal/wire/wiretest"
)

// FuzzParser passes two directions to the parser, in portions that the input chooses.
// The parser must not panic, must stay within its bound, and the portions must not matter.
func FuzzParser(f *testing.F) {
	for _, c := range wiretest.Captures(f) {
		if c.Want["protocol"] == "ssh" {
			f.Add(c.Stream(true), c.Stream(false), uint8(30))
		}
	}
	f.Fuzz(func(t *testing.T, sent, received []byte, size uint8) {
		var whole, cut ssh.Parser
		whole.Data(false, sent)
		whole.Data(true, received)
		for i, b := range [][]byte{sent, received} {
			for len(b) > 0 {
				n := min(int(size)+1, len(b))
				cut.Data(i == 1, b[:n])
				b = b[n:]
			}
		}
		if cut.Buffered() > 256<<10 {
			t.Fatalf("%d bytes are kept", cut.Buffered())
		}
		if whole.Handshake != cut.Handshake && len(sent)+len(received) < 16<<10 {
			t.Fatalf("in one portion: %+v\nin portions of %d: %+v", whole.Handshake, size, cut.Handshake)
		}
	})
}
