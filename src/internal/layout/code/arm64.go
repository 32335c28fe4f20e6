// SPDX-License-Identifier: Apache-2.0

package code

import (
	"debug/elf"
	"encoding/binary"
	"fmt"
	"math/bits"

	"crypto-auditing/src/internal/layout/image"
)

// decodeARM64 decodes an instruction of arm64.
func decodeARM64(code []byte, addr uint64) (out Instruction, effect Effect, ok bool) {
	out, effect = Instruction{Addr: addr, Size: 4}, Effect{Writes: -1}
	if len(code) < 4 || addr%4 != 0 {
		return out, effect, false
	}
	x := binary.LittleEndian.Uint32(code)
	rd := int(x & 31)
	switch {
	case x&0x7c000000 == 0x14000000:
		out.Name, out.Call = "b", x>>31 != 0
		if out.Call {
			out.Name = "bl"
		}
		out.Target = addr + uint64(Signed(x, 26)*4)
	case x&0xff000010 == 0x54000000:
		out.Name, out.Target = "b.cond", addr+uint64(Signed(x>>5, 19)*4)
	case x&0x7e000000 == 0x34000000:
		out.Name, out.Target = "cbz", addr+uint64(Signed(x>>5, 19)*4)
	case x&0x7e000000 == 0x36000000:
		out.Name, out.Target = "tbz", addr+uint64(Signed(x>>5, 14)*4)
	case x&0x1f000000 == 0x10000000:
		out.Name, effect.Straight, effect.Writes = "adr", true, rd
	case x&0xfffffc1f == 0xd65f0000:
		out.Name, out.Returns = "ret", true
	case x == 0xd503201f:
		// Emulated since Linux 6.13, single-stepped before.
		effect.Straight = true
	case x&0xfffff01f == 0xd503201f:
		// Among others the signing of the return address, which changes bits of it that
		// do not belong to the address.
		effect.Straight = true
	case x&0xff800000 == 0xd1000000 && rd == 31 && x>>5&31 == 31: // sub sp, sp, n
		effect.Straight, effect.Lowers = true, int(x>>10&0xfff)
		if x>>22&1 != 0 {
			effect.Lowers <<= 12
		}
	case x&0xffc00000 == 0xa9800000: // stp of general registers with pre-index
		effect.Straight, effect.Lowers = x>>5&31 == 31, -int(Signed(x>>15, 7)*8)
	case x&0x3fc00000 == 0x2d800000 && x>>30 != 3: // stp of vector registers with pre-index
		effect.Straight, effect.Lowers = x>>5&31 == 31, -int(Signed(x>>15, 7)<<(2+x>>30))
	case x&0xffe00c00 == 0xf8000c00 && x>>5&31 == 31: // str x, [sp, n]!
		effect.Straight, effect.Lowers = true, -int(Signed(x>>12, 9))
	case x&0x3bc00000 == 0x29000000, x&0x3fc00000 == 0x39000000, x&0xbfc00000 == 0xb9000000: // stp, str
		effect.Straight = true
	case x&0x1f000000 == 0x11000000, x&0x1f800000 == 0x12800000, x&0x1f000000 == 0x0a000000, x&0x1f200000 == 0x0b000000, x&0x1f800000 == 0x12000000: // arithmetic
		effect.Straight, effect.Writes = true, rd
		if rd == 31 {
			// Compares and tests write no register. The others write the stack pointer, or
			// do not occur in prologues.
			effect.Straight, effect.Writes = x>>29&1 != 0 && x&0x7f800000 != 0x32000000, -1
		}
	case x&0xbfc00000 == 0xb9400000, x&0xff800000 == 0x52800000, x&0x3fc00000 == 0x39400000: // ldr
		effect.Straight, effect.Writes = true, rd
	}
	effect.Straight = effect.Straight && effect.Lowers >= 0
	effect.Unsteppable = out.Name == "" && isUnsteppable(x)
	// ldxr, ldaxr, ldxp, ldaxp; stxr, stlxr, stxp, stlxp, clrex. The pairs of 32 bits of the
	// same form compare and swap.
	exclusive := x&0x3f800000 == 0x08000000 && (x>>21&1 == 0 || x>>31 != 0)
	effect.Opens = exclusive && x>>22&1 != 0
	effect.Closes = exclusive && x>>22&1 == 0 || x&0xfffff0ff == 0xd503305f
	return out, effect, true
}

// Signed sign-extends the low n bits of x.
func Signed(x uint32, n uint) int64 { return int64(int32(x<<(32-n)) >> (32 - n)) }

// LogicalMask decodes the immediate of a logical instruction of arm64 (DecodeBitMasks in the
// manual).
func LogicalMask(n, imms, immr uint32) (uint64, bool) {
	length := 31 - bits.LeadingZeros32(n<<6|^imms&0x3f)
	if length < 1 {
		return 0, false
	}
	size := uint(1) << length
	s, r := uint(imms)&(size-1), uint(immr)&(size-1)
	if s == size-1 {
		return 0, false
	}
	element := ^uint64(0) >> (64 - size)
	m := uint64(1)<<(s+1) - 1
	m = (m>>r | m<<(size-r)) & element
	for ; size < 64; size *= 2 {
		m |= m << size
	}
	return m, true
}

// isUnsteppable reports whether an instruction that the kernel does not emulate cannot be
// executed in another place, as the kernel does. It refuses most of them itself:
// arch/arm64/kernel/probes/decode-insn.c. But it does not know signatures that include
// the address of the instruction, and Linux before 6.12 emulates loads from literals by a
// read that may crash the kernel.
func isUnsteppable(x uint32) bool {
	switch {
	case x&0x1c000000 == 0x14000000: // branches, exceptions, system
		switch {
		case x&0xfffffc1f == 0xd61f0000, x&0xfffffc1f == 0xd63f0000: // br, blr: emulated
			return false
		case x&0xfffff01f == 0xd503201f:
			return !isSteppableHint(x >> 5 & 0x7f)
		case x&0xfffff01f == 0xd503301f, x&0xfff00000 == 0xd5300000: // barriers, mrs
			return false
		}
		return true
	case x&0x3b000000 == 0x18000000: // loads from literals
		return true
	case x&0x3f000000 == 0x08000000: // exclusive and ordered accesses, comparison with swap
		return true
	case x&0xffffdbff == 0xdac183fe: // paciasppc: the signature would include the other address
		return true
	case x&0x3b200c00 == 0x19000400: // copies of memory, whose three instructions must follow each other
		return true
	}
	return false
}

// isSteppableHint reports whether the kernel executes a hint in another place: among others
// the signing of addresses and the landing pads of branches, but not the authentication of
// addresses.
func isSteppableHint(number uint32) bool {
	switch number {
	case 0, // nop
		7,             // xpaclri
		8, 10, 24, 25, // pacia1716, pacib1716, paciaz, paciasp
		26, 27, // pacibz, pacibsp
		32, 34, 36, 38: // bti
		return true
	}
	return false
}

// maxExclusive is the number of instructions in which a sequence of exclusive accesses
// ends, as in the kernel's check of its own probes (MAX_ATOMIC_CONTEXT_SIZE).
const maxExclusive = 128 / 4

// CheckProbe returns an error if a probe at addr would harm programs, or the kernel refuses
// it. A breakpoint between an exclusive load and its store makes the store fail each time,
// so that the program repeats both forever; the kernel does not check this for programs.
// Only probes on arm64 are checked.
func CheckProbe(m *image.Image, addr uint64) error {
	if m.Machine != elf.EM_AARCH64 {
		return nil
	}
	from := addr - min(addr, maxExclusive*4)
	if start, _, err := m.Extent(addr); err == nil {
		from = max(from, start)
	}
	var code []byte
	for at := from; at <= addr; at += 4 {
		word := m.Code(at)
		code = append(code, word[:min(4, len(word))]...)
	}
	return checkProbe(code, from, addr)
}

// checkProbe checks a probe at addr, which code from address from leads up to and includes.
func checkProbe(code []byte, from, addr uint64) error {
	open := false
	for at := from; at <= addr; at += 4 {
		_, effect, ok := decodeARM64(code, at)
		switch {
		case !ok || at == addr && effect.Unsteppable:
			return fmt.Errorf("the kernel cannot execute the instruction at %#x at a probe", addr)
		case at == addr && open:
			return fmt.Errorf("a probe at %#x would be between an exclusive load and its store", addr)
		case effect.Opens || effect.Closes:
			open = effect.Opens
		}
		code = code[4:]
	}
	return nil
}
