// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/binary"
	"os"
	"testing"
)

// chunk is the header of a chunk (docs/log-format.md).
type chunk struct {
	store          [16]byte
	first, entries uint64
	lost           uint64
}

// chunksOf returns the headers of the complete chunks of a segment, and the offset at
// which the last of them ends.
func chunksOf(t *testing.T, file string, b []byte) (all []chunk, end int) {
	t.Helper()
	const (
		headerMagic, indexMagic = 0x184d2a5c, 0x184d2a5d
		frame                   = 8 // magic and length
		smallest                = 152 - frame
	)
	for len(b)-end >= frame {
		h := b[end:]
		n := int(binary.LittleEndian.Uint32(h[4:]))
		switch magic := binary.LittleEndian.Uint32(h); {
		case magic == indexMagic && n <= len(h)-frame:
			end += frame + n
			continue
		case magic != headerMagic || n < smallest:
			t.Fatalf("%s has no chunk at %d", file, end)
		}
		if n > len(h)-frame {
			break
		}
		if string(h[8:12]) != "CRAU" {
			t.Fatalf("%s has no header at %d", file, end)
		}
		length := frame + n + int(binary.LittleEndian.Uint32(h[104:]))
		if length > len(h) {
			break
		}
		c := chunk{
			first: binary.LittleEndian.Uint64(h[56:]), lost: binary.LittleEndian.Uint64(h[88:]),
			entries: uint64(binary.LittleEndian.Uint32(h[96:])),
		}
		copy(c.store[:], h[24:])
		all = append(all, c)
		end += length
	}
	return all, end
}

// chunks returns the headers of the chunks of a log. All chunks must be complete.
func chunks(t *testing.T, dir string) (all []chunk) {
	t.Helper()
	for _, file := range segments(t, dir) {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		headers, end := chunksOf(t, file, b)
		if end != len(b) {
			t.Fatalf("%s ends in the middle of a chunk at %d", file, end)
		}
		all = append(all, headers...)
	}
	return all
}

// decompressWhole decompresses the complete chunks of a file: its writer may be writing
// the last one, or may have been killed meanwhile.
func decompressWhole(t *testing.T, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, end := chunksOf(t, file, b)
	return plain(t, file, b[:end])
}

// readable returns the readable part of a log that is being written.
func readable(t *testing.T, dir string) []byte {
	t.Helper()
	var all []byte
	for _, file := range segments(t, dir) {
		all = append(all, decompressWhole(t, file)...)
	}
	return all
}
