// SPDX-License-Identifier: Apache-2.0

package usdt

import (
	"bytes"
	"debug/elf"

	"crypto-auditing/src/internal/capture"
	"crypto-auditing/src/internal/elffile"
)

// Encodings of no-ops.
const (
	amd64Nop     = "\x90"
	amd64FiveNop = "\x0f\x1f\x44\x00\x00"
	amd64TenNop  = "\x66\x2e\x0f\x1f\x84\x00\x00\x00\x00\x00"
	arm64Nop     = "\x1f\x20\x03\xd5"

	// longestNop is the highest number of bytes that nopAt reads.
	longestNop = len(amd64Nop) + len(amd64TenNop)
)

// nopAt returns the kind of the instruction at a site.
func nopAt(e *elffile.File, image *capture.Image, s *Site) (NopKind, error) {
	segment := image.Segment(s.Addr, 1)
	left := segment.Filesz - (s.Addr - segment.Vaddr)
	b, err := e.Read("code at a probe", s.Offset, min(left, uint64(longestNop)))
	if err != nil {
		return NopNone, err
	}
	if e.Machine == elf.EM_AARCH64 {
		if bytes.HasPrefix(b, []byte(arm64Nop)) {
			return NopOne, nil
		}
		return NopNone, nil
	}
	switch after, hasNop := bytes.CutPrefix(b, []byte(amd64Nop)); {
	case hasNop && bytes.HasPrefix(after, []byte(amd64FiveNop)):
		return NopOnePlusFive, nil
	case hasNop && bytes.HasPrefix(after, []byte(amd64TenNop)):
		return NopOnePlusTen, nil
	case hasNop:
		return NopOne, nil
	case bytes.HasPrefix(b, []byte(amd64FiveNop)):
		return NopFive, nil
	case bytes.HasPrefix(b, []byte(amd64TenNop)):
		return NopTen, nil
	}
	return NopNone, nil
}
