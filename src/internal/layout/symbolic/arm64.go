// SPDX-License-Identifier: Apache-2.0

package symbolic

import (
	"encoding/binary"

	"crypto-auditing/src/internal/layout/code"
)

// arm64 executes arm64 instructions. It decodes their fields itself: the operands of the
// decoder of golang.org/x/arch are not accessible. Register 31 is the stack pointer or
// zero, depending on the instruction.
//
// Source: Arm Architecture Reference Manual for A-profile, C4.1.
type arm64 struct{}

func (arm64) result() int       { return 0 }
func (arm64) arguments() [6]int { return [6]int{0, 1, 2, 3, 4, 5} }
func (arm64) stack() int        { return stackPointer }
func (arm64) registers() int    { return stackPointer + 1 }
func (arm64) saved(r int) bool  { return r >= 19 && r <= 29 || r == stackPointer }

const stackPointer = 31

// arm64Step is the execution of one instruction.
type arm64Step struct {
	*run
	*state
	x     uint32
	start uint64
	// width is the width of the instruction's general registers, in bytes.
	width int
	// rd, rn and rm are the registers in the usual fields.
	rd, rn, rm int
}

func (arm64) step(r *run, s *state) {
	b := r.image.Code(s.pc)
	if len(b) < 4 || s.pc%4 != 0 {
		s.fail("there is no code at %#x", s.pc)
		return
	}
	x := binary.LittleEndian.Uint32(b)
	i := arm64Step{run: r, state: s, x: x, start: s.pc, width: 4, rd: int(x & 31), rn: int(x >> 5 & 31), rm: int(x >> 16 & 31)}
	if x>>31 != 0 {
		i.width = 8
	}
	s.pc += 4
	if !i.branch() && !i.immediate() && !i.registers() && !i.memory() && !i.other() {
		s.fail("the instruction at %#x is not known: %08x", i.start, x)
	}
}

// is reports whether the bits of mask are equal to want.
func (i *arm64Step) is(mask, want uint32) bool { return i.x&mask == want }

// get returns a register, or zero for register 31.
func (i *arm64Step) get(n, width int) Value {
	if n == stackPointer {
		return constant(0)
	}
	return i.cut(i.state.registers[n], width)
}

// set sets a register; a write to register 31 is discarded.
func (i *arm64Step) set(n int, v Value, width int) {
	if n != stackPointer {
		i.state.registers[n] = i.cut(v, width)
	}
}

// condition returns the condition with a number, false for always and for unknown flags.
func (i *arm64Step) condition(number uint32) (Condition, bool) {
	relations := [...]relation{Equal, NotEqual, notBelow, below, negative, notNegative, overflow, notOverflow,
		above, notAbove, notLess, less, greater, notGreater, 0, 0}
	c := i.flags
	known := c.Relation != 0
	c.Relation = relations[number&15]
	return c, known && c.Relation != 0
}

// branchIf branches to target if the condition holds.
func (i *arm64Step) branchIf(c Condition, target int64) {
	i.fork(i.state, c, func(t *state, taken bool) {
		if taken {
			i.jump(t, i.start+uint64(target))
		}
	})
}

// branch executes instructions that change the control flow, and hints.
func (i *arm64Step) branch() bool {
	x := i.x
	switch {
	case i.is(0xfffff01f, 0xd503201f), i.is(0xfffff000, 0xd5033000):
		// Hints such as nop, bti, paciasp; barriers.
	case i.is(0xfffffc1f, 0xd65f0000), x == 0xd65f0bff, x == 0xd65f0fff:
		i.ret(i.state)
	case i.is(0xfc000000, 0x14000000):
		i.jump(i.state, i.start+uint64(code.Signed(x, 26)*4))
	case i.is(0xfc000000, 0x94000000):
		i.call(i.state, i.start+uint64(code.Signed(x, 26)*4), i.start+4)
	case i.is(0xfffffc1f, 0xd61f0000), i.is(0xfffffc1f, 0xd63f0000):
		v := i.state.registers[i.rn]
		target, known := v.Constant()
		known = known && target != 0
		switch call := i.is(0xfffffc1f, 0xd63f0000); {
		case call && known:
			i.call(i.state, target, i.start+4)
		case call:
			i.callUnknown(i.state, Call{Pointer: v}, i.start+4)
		case known:
			i.jumpByPointer(i.state, target)
		default:
			i.exit(i.state, Call{Pointer: v})
		}
	case i.is(0xff000010, 0x54000000):
		c, ok := i.condition(x)
		if !ok {
			return false
		}
		i.branchIf(c, code.Signed(x>>5, 19)*4)
	case i.is(0x7e000000, 0x34000000): // cbz, cbnz
		c := Condition{X: i.get(i.rd, i.width), Width: i.width, Relation: Equal + relation(x>>24&1)}
		i.branchIf(c, code.Signed(x>>5, 19)*4)
	case i.is(0x7e000000, 0x36000000): // tbz, tbnz
		bit := constant(int64(uint64(1) << (x>>19&31 | x>>31<<5)))
		v := i.get(i.rd, 8)
		c := Condition{X: i.binary(opAnd, v, bit, 8), Width: 8, Relation: Equal + relation(x>>24&1)}
		i.branchIf(c, code.Signed(x>>5, 14)*4)
	default:
		return false
	}
	return true
}

// sum adds or subtracts, and sets the flags if the instruction does.
func (i *arm64Step) sum(a, b Value, width int, toStack bool) {
	op := opAdd
	if i.x>>30&1 != 0 {
		op = opSub
	}
	v := i.binary(op, a, b, width)
	if i.x>>29&1 != 0 {
		i.flags = Condition{X: v, Width: width, Relation: Equal}
		if op == opSub {
			i.flags = Condition{X: i.cut(a, width), Y: i.cut(b, width), Width: width, Relation: Equal}
		}
		i.set(i.rd, v, width)
		return
	}
	if toStack {
		i.state.registers[i.rd] = i.cut(v, width)
		return
	}
	i.set(i.rd, v, width)
}

// immediate executes instructions with a constant operand.
func (i *arm64Step) immediate() bool {
	x, w := i.x, i.width
	switch {
	case i.is(0x1f000000, 0x10000000): // adr, adrp
		offset := code.Signed(x>>5, 19)<<2 | int64(x>>29&3)
		if x>>31 != 0 {
			i.set(i.rd, constant(int64(i.start&^0xfff)+offset<<12), 8)
		} else {
			i.set(i.rd, constant(int64(i.start)+offset), 8)
		}
	case i.is(0x1f800000, 0x12800000): // movn, movz, movk
		shift := x >> 21 & 3 * 16
		n := int64(x>>5&0xffff) << shift
		switch x >> 29 & 3 {
		case 0:
			i.set(i.rd, constant(^n), w)
		case 2:
			i.set(i.rd, constant(n), w)
		default:
			old := i.get(i.rd, 8)
			if old.symbol != nil {
				return false
			}
			i.set(i.rd, constant(old.number&^(0xffff<<shift)|n), w)
		}
	case i.is(0x1f000000, 0x11000000): // add, sub
		n := int64(x >> 10 & 0xfff)
		if x>>22&1 != 0 {
			n <<= 12
		}
		i.sum(i.cut(i.state.registers[i.rn], w), constant(n), w, true)
	case i.is(0x1f800000, 0x12000000): // and, orr, eor, ands
		m, ok := code.LogicalMask(x>>22&1, x>>10&63, x>>16&63)
		if !ok {
			return false
		}
		v := i.binary([]operation{opAnd, opOr, opXor, opAnd}[x>>29&3], i.get(i.rn, w), constant(int64(m&mask(w))), w)
		if x>>29&3 == 3 {
			i.flags = Condition{X: v, Width: w, Relation: Equal}
			i.set(i.rd, v, w)
		} else {
			i.state.registers[i.rd] = i.cut(v, w)
		}
	case i.is(0x1f800000, 0x13000000):
		i.bitfield()
	case i.is(0x3f000000, 0x18000000): // ldr of a literal
		n := 4 << (x >> 30 & 1)
		i.set(i.rd, i.read(i.state, constant(int64(i.start)+code.Signed(x>>5, 19)*4), n), 8)
	default:
		return false
	}
	return true
}

// bitfield executes sbfm, bfm and ubfm: shifts and extensions.
func (i *arm64Step) bitfield() {
	rotate, last := int64(i.x>>16&63), int64(i.x>>10&63)
	w := i.width
	top := int64(w*8 - 1)
	v := i.get(i.rn, w)
	ones := func(n int64) Value { return constant(int64(uint64(1)<<n - 1)) }
	var out Value
	switch unsigned := i.x>>29&3 == 2; {
	case unsigned && last == top:
		out = i.binary(opShr, v, constant(rotate), w)
	case unsigned && last+1 == rotate:
		out = i.binary(opShl, v, constant(top-last), w)
	case unsigned && last >= rotate:
		out = i.binary(opAnd, i.binary(opShr, v, constant(rotate), w), ones(last-rotate+1), w)
	case unsigned:
		out = i.binary(opShl, i.binary(opAnd, v, ones(last+1), w), constant(top+1-rotate), w)
	case i.x>>29&3 == 0 && rotate == 0 && (last == 7 || last == 15 || last == 31):
		out = i.signExtend(v, int(last+1)/8, w)
	case i.x>>29&3 == 0 && last == top:
		out = i.binary(opSar, v, constant(rotate), w)
	default:
		out = i.unknown()
	}
	i.set(i.rd, out, w)
}

// shifted returns the register rm, shifted as the instruction specifies.
func (i *arm64Step) shifted(width int) Value {
	return i.binary([]operation{opShl, opShr, opSar, opRor}[i.x>>22&3], i.get(i.rm, width), constant(int64(i.x>>10&63)), width)
}

// registers executes instructions whose operands are registers.
func (i *arm64Step) registers() bool {
	x, w := i.x, i.width
	switch {
	case i.is(0x1f200000, 0x0b000000): // add, sub
		i.sum(i.get(i.rn, w), i.shifted(w), w, false)
	case i.is(0x1fe00000, 0x0b200000): // add, sub of an extended register
		i.sum(i.cut(i.state.registers[i.rn], w), i.extended(w), w, true)
	case i.is(0x1f000000, 0x0a000000): // and, orr, eor, ands and their complements
		v := i.shifted(w)
		if x>>21&1 != 0 {
			v = i.binary(opXor, v, constant(-1), w)
		}
		v = i.binary([]operation{opAnd, opOr, opXor, opAnd}[x>>29&3], i.get(i.rn, w), v, w)
		if x>>29&3 == 3 {
			i.flags = Condition{X: v, Width: w, Relation: Equal}
		}
		i.set(i.rd, v, w)
	case i.is(0x1fe00000, 0x1a800000): // csel, csinc, csinv, csneg
		c, ok := i.condition(x >> 12)
		if !ok {
			return false
		}
		yes, no := i.get(i.rn, w), i.get(i.rm, w)
		switch x>>29&2 | x>>10&1 {
		case 1:
			no = i.binary(opAdd, no, constant(1), w)
		case 2:
			no = i.binary(opXor, no, constant(-1), w)
		case 3:
			no = i.binary(opSub, constant(0), no, w)
		}
		rd := i.rd
		i.fork(i.state, c, func(t *state, taken bool) {
			v := no
			if taken {
				v = yes
			}
			if rd != stackPointer {
				t.registers[rd] = i.cut(v, w)
			}
		})
	case i.is(0x3fe00410, 0x3a400000):
		return i.conditionalCompare()
	case i.is(0x7fe08000, 0x1b000000): // madd
		i.set(i.rd, i.binary(opAdd, i.binary(opMul, i.get(i.rn, w), i.get(i.rm, w), w), i.get(int(x>>10&31), w), w), w)
	case i.is(0x7fe0f000, 0x1ac02000): // lslv, lsrv, asrv, rorv
		i.set(i.rd, i.binary([]operation{opShl, opShr, opSar, opRor}[x>>10&3], i.get(i.rn, w), i.get(i.rm, w), w), w)
	default:
		return false
	}
	return true
}

// extended returns the register rm, extended and shifted.
func (i *arm64Step) extended(width int) Value {
	option := i.x >> 13 & 7
	from := 1 << (option & 3)
	v := i.cut(i.get(i.rm, 8), from)
	if option&4 != 0 {
		v = i.signExtend(v, from, width)
	}
	return i.binary(opShl, v, constant(int64(i.x>>10&7)), width)
}

// conditionalCompare executes ccmp and ccmn: if a condition holds they compare, else they
// set the flags to an immediate.
func (i *arm64Step) conditionalCompare() bool {
	c, ok := i.condition(i.x >> 12)
	if !ok {
		return false
	}
	a, b := i.get(i.rn, i.width), i.get(i.rm, i.width)
	if i.x>>11&1 != 0 {
		b = constant(int64(i.rm))
	}
	if i.x>>30&1 == 0 {
		b = i.binary(opSub, constant(0), b, i.width)
	}
	compared := Condition{X: a, Y: b, Width: i.width, Relation: Equal}
	// Numbers whose comparison yields these flags.
	fixed := Condition{X: constant(0), Y: constant(1), Width: 4, Relation: Equal}
	switch flags := i.x & 15; {
	case flags&4 != 0:
		fixed.Y = constant(0)
	case flags&8 != 0:
		fixed.X, fixed.Y = constant(-2), constant(-1)
	case flags&2 != 0:
		fixed.X, fixed.Y = constant(1), constant(0)
	}
	i.fork(i.state, c, func(t *state, taken bool) {
		t.flags = fixed
		if taken {
			t.flags = compared
		}
	})
	return true
}

// other executes instructions whose results are not tracked.
func (i *arm64Step) other() bool {
	switch {
	case i.is(0xffffffe0, 0xd53bd040): // mrs of the thread pointer
		i.set(i.rd, i.unknown(), 8)
	case i.is(0x7f36fc00, 0x1e260000): // fmov to a general register
		i.set(i.rd, i.unknown(), 8)
	case i.is(0x1e000000, 0x0e000000), i.is(0x1e000000, 0x1e000000):
		// Vectors.
	default:
		return false
	}
	return true
}
