// SPDX-License-Identifier: Apache-2.0

package wire_test

import (
	"encoding/binary"
	"testing"

	"crypto-auditing/src/internal/wire"
	"crypto-auditing/src/internal/wire/wiretest"
)

// FuzzTracker lets the input choose fragments: a head of eight bytes, then data.
// The tracker must stay within its limits, and the sides must add up.
func FuzzTracker(f *testing.F) {
	for _, c := range wiretest.Captures(f) {
		var input []byte
		for _, x := range fragments(&c.Handshake, side{1, 7, clientTask, true}) {
			flags := byte(0)
			if x.Received {
				flags |= 1
			}
			if x.End {
				flags |= 2
			}
			input = append(input, byte(x.Protocol), flags, 1, 1)
			input = binary.BigEndian.AppendUint16(input, uint16(x.Offset))
			input = binary.BigEndian.AppendUint16(input, uint16(len(x.Data)))
			input = append(input, x.Data...)
		}
		f.Add(input)
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		limits := wire.Limits{Connections: 8, Bytes: 64 << 10, Time: 1000}
		given := uint64(0)
		r := wire.NewTracker(limits, func(name string) bool { return name == "ssh" }, func(h *wire.Handshake) {
			given++
			h.Operation()
		})
		for time := uint64(1); len(input) >= 8; time++ {
			head := input[:8]
			n := min(len(input)-8, int(binary.BigEndian.Uint16(head[6:])))
			x := wire.Fragment{
				Time: time, Protocol: wire.Protocol(head[0]), Received: head[1]&1 != 0, End: head[1]&2 != 0, Invalid: head[1]&4 != 0,
				Cut: head[1]&8 != 0, Closed: head[1]&16 != 0, Connection: uint64(head[2]), Pair: uint32(head[2] >> 4), Peer: uint32(head[2] >> 4),
				Task: uint64(head[3])<<32 | uint64(head[3]), Offset: uint32(binary.BigEndian.Uint16(head[4:])), Data: input[8 : 8+n],
			}
			if head[1]&32 != 0 {
				x.Executable, x.Unit = []byte("ssh"), []byte("ssh.service")
			}
			input = input[8+n:]
			r.Add(&x)
			if s := r.Stats(); r.Held() > limits.Bytes || s.Open > uint64(limits.Connections) {
				t.Fatalf("%d bytes, %d open", r.Held(), s.Open)
			}
			if head[1]&64 != 0 {
				r.Expire(time)
			}
		}
		r.Expire(1 << 62)
		s := r.Stats()
		checkStats(t, s)
		if s.Open != 0 || r.Held() != 0 || given < s.Decoded || given > s.Decoded+s.Cut {
			t.Fatalf("%d bytes, %d handshakes, %+v", r.Held(), given, s)
		}
	})
}
