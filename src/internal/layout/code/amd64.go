// SPDX-License-Identifier: Apache-2.0

package code

import (
	"bytes"

	"golang.org/x/arch/x86/x86asm"
)

// OperandKind is the kind of an operand.
type OperandKind uint8

// The kinds of operands.
const (
	NoOperand OperandKind = iota
	// InRegister is a general register, InVector a vector register.
	InRegister
	InVector
	// InMemory is memory at Base plus Index times Scale plus Number, InThread memory of the
	// thread, whose address is not known.
	InMemory
	InThread
	Immediate
	// Target is the target of a jump or a call.
	Target
	// OtherOperand is not supported.
	OtherOperand
)

// NoRegister is the Base or the Index of memory without one.
const NoRegister = -1

// Operand is an operand of an x86-64 instruction.
type Operand struct {
	Kind OperandKind
	// Register is the number of a general register, Width its width in bytes and Shift the
	// number of bits by which its value is shifted.
	Register, Width, Shift uint8
	Base, Index            int8
	Scale                  uint8
	// Number is the value of an immediate, the displacement of memory or the address of a
	// target.
	Number int64
}

// Use is the way in which an instruction uses a condition of the flags.
type Use uint8

// The uses of conditions.
const (
	NoCondition Use = iota
	Jump
	Set
	Move
)

// AMD64 is an x86-64 instruction with its operands.
type AMD64 struct {
	Op x86asm.Op
	// Width is the size of the operation in bytes, Accessed the size of the operand in
	// memory.
	Width    uint8
	Accessed uint16
	Operands [3]Operand
	// Use is how the instruction uses the condition with a number, as encoded.
	Use       Use
	Condition uint8
	// End is the address of the next instruction.
	End uint64
}

// ReadAMD64 decodes the instruction at addr, which code begins with. The instruction endbr64
// is returned as a no-operation.
func ReadAMD64(code []byte, addr uint64) (out AMD64, ok bool) {
	if bytes.HasPrefix(code, []byte(EndBranch)) {
		return AMD64{Op: x86asm.NOP, End: addr + uint64(len(EndBranch))}, true
	}
	if HasNoTrack(code) {
		code = code[1:]
		addr++
	}
	in, ok := Decode(code)
	if !ok {
		return out, false
	}
	out = AMD64{Op: in.Op, Width: uint8(in.DataSize / 8), Accessed: uint16(in.MemBytes), End: addr + uint64(in.Len)}
	for i := range out.Operands {
		out.Operands[i] = newOperand(in.Args[i], out.End)
	}
	out.Use, out.Condition = conditionOf(in.Opcode)
	return out, true
}

// conditionOf returns how the instruction with an opcode uses a condition, and the number of
// the condition.
func conditionOf(opcode uint32) (Use, uint8) {
	first, second := uint8(opcode>>24), uint8(opcode>>16)
	switch {
	case first&0xf0 == 0x70:
		return Jump, first & 15
	case first != 0x0f:
	case second&0xf0 == 0x40:
		return Move, second & 15
	case second&0xf0 == 0x80:
		return Jump, second & 15
	case second&0xf0 == 0x90:
		return Set, second & 15
	}
	return NoCondition, 0
}

func newOperand(a x86asm.Arg, end uint64) Operand {
	switch a := a.(type) {
	case nil:
		return Operand{}
	case x86asm.Reg:
		number, width, shift, ok := Register(a)
		switch {
		case ok:
			return Operand{Kind: InRegister, Register: uint8(number), Width: uint8(width), Shift: uint8(shift)}
		case IsVector(a):
			return Operand{Kind: InVector}
		}
	case x86asm.Imm:
		return Operand{Kind: Immediate, Number: int64(a)}
	case x86asm.Rel:
		return Operand{Kind: Target, Number: int64(end) + int64(a)}
	case x86asm.Mem:
		return newMemory(a, end)
	}
	return Operand{Kind: OtherOperand}
}

func newMemory(m x86asm.Mem, end uint64) Operand {
	if m.Segment == x86asm.FS || m.Segment == x86asm.GS {
		return Operand{Kind: InThread}
	}
	out := Operand{Kind: InMemory, Base: NoRegister, Index: NoRegister, Number: m.Disp}
	switch {
	case m.Base == x86asm.RIP:
		out.Number += int64(end)
	case m.Base != 0:
		number, width, _, ok := Register(m.Base)
		if !ok || width != 8 {
			return Operand{Kind: OtherOperand}
		}
		out.Base = int8(number)
	}
	if m.Index != 0 && m.Scale != 0 {
		number, width, _, ok := Register(m.Index)
		if !ok || width != 8 {
			return Operand{Kind: OtherOperand}
		}
		out.Index, out.Scale = int8(number), m.Scale
	}
	return out
}
