// SPDX-License-Identifier: Apache-2.0

package code

import (
	"bytes"
	"encoding/binary"
)

// shape is what follows the opcode of an instruction, as bits.
type shape uint8

const (
	plain shape = 1 << iota // an instruction that skimAMD64 knows
	modRM                   // a ModR/M byte, and what it requires
	byte1                   // an immediate of one byte
	word                    // an immediate of two or four bytes, as the operands
	near                    // a distance of one byte
	far                     // a distance of four bytes
)

// shapeOf returns what follows an opcode of one byte, zero for opcodes that are rare or of
// which not every use is valid.
//
// Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, A.3.
func shapeOf(opcode byte) shape {
	switch {
	case opcode < 0x40: // arithmetic; the other two of each eight are not valid
		return [...]shape{plain | modRM, plain | modRM, plain | modRM, plain | modRM, plain | byte1, plain | word, 0, 0}[opcode&7]
	case opcode < 0x50:
		return 0
	case opcode < 0x60: // push, pop
		return plain
	case opcode >= 0x70 && opcode < 0x80: // jcc
		return plain | near
	case opcode >= 0xb0 && opcode < 0xb8: // mov
		return plain | byte1
	case opcode >= 0xb8 && opcode < 0xc0:
		return plain | word
	}
	switch opcode {
	case 0x63, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8b: // movsxd, test, xchg, mov
		return plain | modRM
	case 0x69, 0x81: // imul, arithmetic
		return plain | modRM | word
	case 0x6b, 0x80, 0x83: // imul, arithmetic
		return plain | modRM | byte1
	case 0x68, 0xa9: // push, test
		return plain | word
	case 0x6a, 0xa8:
		return plain | byte1
	case 0x90, 0x98, 0x99, 0xc3, 0xc9: // nop, cwde, cdq, ret, leave
		return plain
	case 0xe8, 0xe9: // call, jmp
		return plain | far
	case 0xeb:
		return plain | near
	}
	return 0
}

// shapeOfTwo is shapeOf for the opcodes after 0f.
func shapeOfTwo(opcode, modrm byte) shape {
	switch {
	case opcode >= 0x40 && opcode < 0x50, opcode >= 0x90 && opcode < 0xa0: // cmovcc, setcc
		return plain | modRM
	case opcode >= 0x80 && opcode < 0x90: // jcc
		return plain | far
	}
	switch opcode {
	case 0x1f: // nop
		if modrm>>3&7 == 0 {
			return plain | modRM
		}
	case 0xa3, 0xaf, 0xb6, 0xb7, 0xbe, 0xbf: // bt, imul, movzx, movsx
		return plain | modRM
	}
	return 0
}

// shapeOfGroup is shapeOf for the opcodes whose ModR/M byte selects the instruction.
func shapeOfGroup(opcode, modrm byte) shape {
	switch instruction := modrm >> 3 & 7; opcode {
	case 0x8d: // lea
		if modrm < 0xc0 {
			return plain | modRM
		}
	case 0xc0, 0xc1: // shifts
		if instruction != 6 {
			return plain | modRM | byte1
		}
	case 0xd0, 0xd1, 0xd2, 0xd3:
		if instruction != 6 {
			return plain | modRM
		}
	case 0xc6, 0xc7: // mov
		if instruction == 0 {
			return plain | modRM | byte1<<(opcode&1)
		}
	case 0xf6, 0xf7: // test, not, neg, mul, imul, div, idiv
		switch instruction {
		case 0:
			return plain | modRM | byte1<<(opcode&1)
		case 1:
			return 0
		}
		return plain | modRM
	case 0xfe: // inc, dec
		if instruction < 2 {
			return plain | modRM
		}
	case 0xff: // inc, dec, call, jmp, push
		if instruction < 7 && instruction != 3 && instruction != 5 {
			return plain | modRM
		}
	}
	return 0
}

// skimAMD64 decodes the most frequent instructions without their operands, which takes a
// tenth of the time of decodeAMD64. It does not know the others.
func skimAMD64(code []byte, addr uint64) (out Instruction, known bool) {
	out = Instruction{Addr: addr, Size: len(EndBranch)}
	if bytes.HasPrefix(code, []byte(EndBranch)) {
		return out, true
	}
	var b [20]byte
	if copy(b[:], code) == 0 {
		return out, false
	}
	at, words, wide := 0, 4, false
	if b[at] == 0x66 {
		at, words = at+1, 2
	}
	if b[at]&0xf0 == 0x40 {
		wide = b[at]&8 != 0
		at++
	}
	if wide {
		words = 4
	}
	opcode := b[at]
	at++
	var follows shape
	switch opcode {
	case 0x0f:
		follows = shapeOfTwo(b[at], b[at+1])
		at++
	case 0x8d, 0xc0, 0xc1, 0xc6, 0xc7, 0xd0, 0xd1, 0xd2, 0xd3, 0xf6, 0xf7, 0xfe, 0xff:
		follows = shapeOfGroup(opcode, b[at])
	default:
		follows = shapeOf(opcode)
	}
	switch {
	case follows == 0, b[0] == 0x66 && (follows&(near|far) != 0 || follows == plain), wide && opcode >= 0xb8 && opcode < 0xc0:
		return out, false
	case follows&modRM != 0:
		at += memorySize(b[at], b[at+1])
	}
	if follows&byte1 != 0 {
		at++
	}
	if follows&word != 0 {
		at += words
	}
	distance := int64(0)
	switch {
	case follows&near != 0:
		distance = int64(int8(b[at]))
		at++
	case follows&far != 0:
		distance = int64(int32(binary.LittleEndian.Uint32(b[at:])))
		at += 4
	}
	if at > len(code) {
		return out, false
	}
	out.Size = at
	out.Name = emulatedAMD64(code)
	if follows&(near|far) != 0 {
		out.Target = addr + uint64(at) + uint64(distance)
		out.Call = opcode == 0xe8
	}
	out.Returns = opcode == 0xc3
	return out, true
}

// memorySize returns the size of a ModR/M byte with what it requires: a SIB byte, a
// displacement.
func memorySize(modrm, sib byte) int {
	mode, base := modrm>>6, modrm&7
	size := 1
	if mode < 3 && base == 4 {
		size, base = 2, sib&7
	}
	switch {
	case mode == 1:
		size++
	case mode == 2, mode == 0 && base == 5:
		size += 4
	}
	return size
}
