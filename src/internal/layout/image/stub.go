// SPDX-License-Identifier: Apache-2.0

package image

import (
	"debug/elf"
	"encoding/binary"
)

// Stub returns the target of the linker stub at addr (an entry of the procedure linkage
// table): a function of this file, or zero and the name of a function of another file. ok
// is false if there is no stub at addr.
func (m *Image) Stub(addr uint64) (target uint64, name string, ok bool) {
	var slot uint64
	if m.Machine == elf.EM_AARCH64 {
		slot, ok = arm64Stub(m.Code(addr), addr)
	} else {
		slot, ok = amd64Stub(m.Code(addr), addr)
	}
	if !ok {
		return 0, "", false
	}
	return m.Slot(slot)
}

// amd64Stub returns the slot of "endbr64; bnd jmp *slot(%rip)"; endbr64 and bnd are
// optional.
func amd64Stub(code []byte, addr uint64) (slot uint64, ok bool) {
	at := 0
	if len(code) >= 4 && string(code[:4]) == "\xf3\x0f\x1e\xfa" {
		at = 4
	}
	if len(code) > at && code[at] == 0xf2 {
		at++
	}
	if len(code) < at+6 || code[at] != 0xff || code[at+1] != 0x25 {
		return 0, false
	}
	offset := int32(binary.LittleEndian.Uint32(code[at+2:]))
	return addr + uint64(at) + 6 + uint64(int64(offset)), true
}

// arm64Stub returns the slot of "bti c; adrp x16, page; ldr x17, [x16, offset]"; bti is
// optional.
func arm64Stub(code []byte, addr uint64) (slot uint64, ok bool) {
	word := func(at int) uint32 {
		if len(code) < at+4 {
			return 0
		}
		return binary.LittleEndian.Uint32(code[at:])
	}
	at := 0
	if word(0) == 0xd503245f {
		at = 4
	}
	page, load := word(at), word(at+4)
	if page&0x9f00001f != 0x90000010 || load&0xffc003ff != 0xf9400211 {
		return 0, false
	}
	pages := int64(int32(page>>5&0x7ffff<<13)>>13)<<2 | int64(page>>29&3)
	return (addr+uint64(at))&^0xfff + uint64(pages<<12) + uint64(load>>10&0xfff)*8, true
}
