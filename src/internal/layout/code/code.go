// SPDX-License-Identifier: Apache-2.0

// Package code decodes the instructions of functions as far as placing probes requires.
package code

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"

	"golang.org/x/arch/x86/x86asm"

	"crypto-auditing/src/internal/layout/image"
)

// Instruction is an instruction of a function.
type Instruction struct {
	Addr uint64
	// Size is the size in bytes.
	Size int
	// Name is the name of an instruction that the kernel emulates on a hit, such as
	// "push", else empty. This is for Linux 6.1 and later:
	// arch/x86/kernel/uprobes.c and arch/arm64/kernel/probes/decode-insn.c.
	Name string
	// Target is the target of a direct jump or call, zero for others. Call reports a
	// call.
	Target uint64
	Call   bool
	// Returns: the instruction returns from the function.
	Returns bool
}

// Effect is the effect of an instruction, as far as placing probes requires.
type Effect struct {
	// Straight: the instruction only affects registers and the stack, and the next
	// instruction follows it. Writes is the register that it changes, -1 for none,
	// Lowers the bytes by which it lowers the stack pointer.
	Straight bool
	Writes   int
	Lowers   int
	// Raises is the number of bytes by which the instruction raises the stack pointer,
	// if that is the only reason why it is not straight: a pop, an addition.
	Raises int
	// Unsteppable: the kernel can neither emulate the instruction on a hit nor execute it
	// elsewhere. This is only determined for arm64.
	Unsteppable bool
	// Opens and Closes: the instruction begins or ends a sequence of exclusive accesses of
	// arm64.
	Opens, Closes bool
}

// maxSweep bounds the code of a function that Sweep decodes, in bytes.
const maxSweep = 1 << 18

var errTooLong = errors.New("it has too much code")

// Sweep calls f for the instructions from start to end, in address order, until f returns
// false. It returns an error if an instruction cannot be decoded.
func Sweep(m *image.Image, start, end uint64, f func(Instruction) bool) error {
	if end-start > maxSweep {
		return errTooLong
	}
	for at := start; at < end; {
		code := m.Code(at)
		code = code[:min(uint64(len(code)), end-at)]
		in, ok := Instruction{}, false
		if m.Machine == elf.EM_AARCH64 {
			in, _, ok = decodeARM64(code, at)
		} else if in, ok = skimAMD64(code, at); !ok {
			in, _, ok = decodeAMD64(code, at)
		}
		if !ok {
			return fmt.Errorf("its code at %#x cannot be decoded", at)
		}
		if !f(in) {
			return nil
		}
		at += uint64(in.Size)
	}
	return nil
}

// EffectOf returns the effect of an instruction of m.
func EffectOf(m *image.Image, in Instruction) Effect {
	decode := decodeAMD64
	if m.Machine == elf.EM_AARCH64 {
		decode = decodeARM64
	}
	_, effect, _ := decode(m.Code(in.Addr), in.Addr)
	return effect
}

// Decode decodes the x86-64 instruction at the beginning of code.
func Decode(code []byte) (x86asm.Inst, bool) {
	// The decoder reads beyond the end of a truncated vector instruction.
	var padded [2 * 16]byte
	n := copy(padded[:16], code)
	in, err := x86asm.Decode(padded[:], 64)
	return in, err == nil && in.Len > 0 && in.Len <= n
}

// decodeAMD64 decodes an instruction of x86-64.
func decodeAMD64(code []byte, addr uint64) (out Instruction, effect Effect, ok bool) {
	out, effect = Instruction{Addr: addr}, Effect{Writes: -1}
	if bytes.HasPrefix(code, []byte(EndBranch)) {
		out.Size, effect.Straight = len(EndBranch), true
		return out, effect, true
	}
	prefix := 0
	if HasNoTrack(code) {
		code, prefix = code[1:], 1
	}
	in, ok := Decode(code)
	if !ok {
		return out, effect, false
	}
	out.Size = in.Len + prefix
	out.Name = emulatedAMD64(code)
	if rel, ok := in.Args[0].(x86asm.Rel); ok {
		out.Target = addr + uint64(out.Size) + uint64(int64(rel))
		out.Call = in.Op == x86asm.CALL
		return out, effect, true
	}
	first, isRegister := in.Args[0].(x86asm.Reg)
	number, _, _, general := Register(first)
	switch in.Op {
	case x86asm.PUSH:
		effect.Straight, effect.Lowers = true, 8
	case x86asm.SUB:
		n, ok := in.Args[1].(x86asm.Imm)
		switch {
		case isRegister && first == x86asm.RSP:
			effect.Straight, effect.Lowers = ok && n > 0 && n < 1<<16, int(n)
		case isRegister && general:
			effect.Straight, effect.Writes = true, number
		}
	case x86asm.MOV, x86asm.LEA, x86asm.XOR, x86asm.AND, x86asm.OR, x86asm.ADD, x86asm.MOVZX, x86asm.MOVSX, x86asm.MOVSXD:
		n, constant := in.Args[1].(x86asm.Imm)
		switch {
		case in.Op == x86asm.ADD && first == x86asm.RSP && constant && n > 0 && n < 1<<16:
			effect.Writes, effect.Raises = number, int(n)
		case isRegister && general:
			effect.Straight, effect.Writes = number != 4, number
		case !isRegister:
			effect.Straight = true
		}
	case x86asm.TEST, x86asm.CMP, x86asm.NOP:
		effect.Straight = true
	case x86asm.POP:
		if isRegister && number != 4 {
			effect.Raises = 8
		}
	case x86asm.RET:
		out.Returns = in.Args[0] == nil
	default:
		effect.Straight = IsVector(first)
	}
	return out, effect, true
}

// emulatedAMD64 returns the name of an instruction that the kernel emulates: direct jumps
// and calls, conditional jumps, the one-byte nop, and pushes of a register with no prefix
// except 0x41.
func emulatedAMD64(code []byte) string {
	switch c := code[0]; {
	case c >= 0x50 && c <= 0x57, c == 0x41 && len(code) > 1 && code[1] >= 0x50 && code[1] <= 0x57:
		return "push"
	case c == 0x90:
		return "nop"
	case c == 0xe9, c == 0xeb:
		return "jmp"
	case c == 0xe8:
		return "call"
	case c >= 0x70 && c <= 0x7f, c == 0x0f && len(code) > 1 && code[1] >= 0x80 && code[1] <= 0x8f:
		return "jcc"
	}
	return ""
}

// EndBranch is the encoding of endbr64, which the decoder does not support.
const EndBranch = "\xf3\x0f\x1e\xfa"

// HasNoTrack reports whether an indirect jump or call has the prefix notrack, which the
// decoder does not support.
func HasNoTrack(code []byte) bool {
	const prefix = 0x3e
	return len(code) > 1 && code[0] == prefix && (code[1] == 0xff || code[1] == 0x41)
}

// Register returns the number and the width of a general register, and the number of bits
// by which its value is shifted.
func Register(r x86asm.Reg) (number, width, shift int, ok bool) {
	switch {
	case r >= x86asm.AL && r <= x86asm.BL:
		return int(r - x86asm.AL), 1, 0, true
	case r >= x86asm.AH && r <= x86asm.BH:
		return int(r - x86asm.AH), 1, 8, true
	case r >= x86asm.SPB && r <= x86asm.DIB:
		return int(r-x86asm.SPB) + 4, 1, 0, true
	case r >= x86asm.R8B && r <= x86asm.R15B:
		return int(r-x86asm.R8B) + 8, 1, 0, true
	case r >= x86asm.AX && r <= x86asm.R15W:
		return int(r - x86asm.AX), 2, 0, true
	case r >= x86asm.EAX && r <= x86asm.R15L:
		return int(r - x86asm.EAX), 4, 0, true
	case r >= x86asm.RAX && r <= x86asm.R15:
		return int(r - x86asm.RAX), 8, 0, true
	}
	return 0, 0, 0, false
}

// IsVector reports whether an operand is a vector register.
func IsVector(a x86asm.Arg) bool {
	r, ok := a.(x86asm.Reg)
	return ok && r >= x86asm.X0 && r <= x86asm.X15
}
