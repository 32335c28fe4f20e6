// SPDX-License-Identifier: Apache-2.0

package symbolic

import (
	"golang.org/x/arch/x86/x86asm"

	"crypto-auditing/src/internal/layout/code"
)

// Register numbers as encoded in instructions.
const (
	rax = iota
	rcx
	rdx
	rbx
	rsp
	rbp
	rsi
	rdi
	r8
	r9
	r12 = 12
	r15 = 15
)

// amd64 executes x86-64 instructions.
type amd64 struct {
	// decoded are the executed instructions, by address: paths share many of them.
	decoded map[uint64]*code.AMD64
}

func (*amd64) result() int       { return rax }
func (*amd64) arguments() [6]int { return [6]int{rdi, rsi, rdx, rcx, r8, r9} }
func (*amd64) stack() int        { return rsp }
func (*amd64) registers() int    { return r15 + 1 }
func (*amd64) saved(r int) bool {
	return r == rbx || r == rbp || r == rsp || r >= r12
}

const (
	// maxVector is the size of the largest vector store, in bytes.
	maxVector = 64
	// maxDecoded bounds the decoded instructions in memory.
	maxDecoded = 1 << 13
)

// amd64Step is the execution of one instruction.
type amd64Step struct {
	*run
	*code.AMD64
	start uint64
}

func (m *amd64) step(r *run, s *state) {
	in := m.decoded[s.pc]
	if in == nil {
		if in = m.decode(r, s); in == nil {
			return
		}
	}
	x := amd64Step{run: r, AMD64: in, start: s.pc}
	s.pc = in.End
	if !x.execute(s) {
		s.fail("the instruction at %#x is not known", x.start)
	}
}

// decode decodes the next instruction of the path. It returns nil and ends the path if it
// cannot.
func (m *amd64) decode(r *run, s *state) *code.AMD64 {
	b := r.image.Code(s.pc)
	if len(b) == 0 {
		s.fail("there is no code at %#x", s.pc)
		return nil
	}
	out, ok := code.ReadAMD64(b, s.pc)
	if !ok {
		s.fail("the code at %#x cannot be decoded", s.pc)
		return nil
	}
	if len(m.decoded) >= maxDecoded {
		clear(m.decoded)
	}
	m.decoded[s.pc] = &out
	return &out
}

// address returns the address of an operand in memory.
func (x *amd64Step) address(s *state, o *code.Operand) (Value, bool) {
	switch o.Kind {
	case code.InThread:
		return x.unknown(), true
	case code.InMemory:
		v := constant(o.Number)
		if o.Base != code.NoRegister {
			v = x.binary(opAdd, s.registers[o.Base], v, 8)
		}
		if o.Index != code.NoRegister {
			v = x.binary(opAdd, v, x.binary(opMul, s.registers[o.Index], constant(int64(o.Scale)), 8), 8)
		}
		return v, true
	}
	return Value{}, false
}

// get returns the value of an operand and its width in bytes.
func (x *amd64Step) get(s *state, o *code.Operand) (v Value, width int, ok bool) {
	switch o.Kind {
	case code.InRegister:
		v := s.registers[o.Register]
		if o.Shift > 0 {
			v = x.binary(opShr, v, constant(int64(o.Shift)), 8)
		}
		return x.cut(v, int(o.Width)), int(o.Width), true
	case code.Immediate:
		return constant(o.Number), int(x.Width), true
	}
	addr, ok := x.address(s, o)
	if !ok || x.Accessed == 0 || x.Accessed > 8 {
		return Value{}, 0, false
	}
	return x.read(s, addr, int(x.Accessed)), int(x.Accessed), true
}

// put sets an operand.
func (x *amd64Step) put(s *state, o *code.Operand, v Value) bool {
	switch o.Kind {
	case code.InRegister:
		s.registers[o.Register] = x.merge(s.registers[o.Register], v, int(o.Width), int(o.Shift))
		return true
	case code.InVector:
		return true
	}
	addr, ok := x.address(s, o)
	if !ok || x.Accessed == 0 {
		return false
	}
	x.write(s, addr, int(x.Accessed), v)
	return true
}

// merge returns a register after v was written to a part of it. A write of 32 bits clears
// the upper half.
func (x *amd64Step) merge(old, v Value, width, shift int) Value {
	if width >= 4 {
		return x.cut(v, width)
	}
	if shift == 0 && old.width() <= width {
		return x.cut(v, width)
	}
	if old.symbol == nil && v.symbol == nil {
		m := int64(mask(width)) << shift
		return constant(old.number&^m | v.number<<shift&m)
	}
	// In practice only the low part is read afterwards.
	if shift == 0 {
		kept := x.binary(opAnd, old, constant(^int64(mask(width))), 8)
		return x.binary(opOr, x.cut(v, width), kept, 8)
	}
	return x.unknown()
}

// widthOf returns the width of an operand in bytes.
func (x *amd64Step) widthOf(o *code.Operand) int {
	switch o.Kind {
	case code.InRegister:
		return int(o.Width)
	case code.InMemory, code.InThread:
		return int(x.Accessed)
	}
	return int(x.Width)
}

// binaryOp returns the operation of an instruction with two operands.
func binaryOp(op x86asm.Op) (operation, bool) {
	switch op {
	case x86asm.ADD:
		return opAdd, true
	case x86asm.SUB:
		return opSub, true
	case x86asm.AND:
		return opAnd, true
	case x86asm.OR:
		return opOr, true
	case x86asm.XOR:
		return opXor, true
	case x86asm.SHL:
		return opShl, true
	case x86asm.SHR:
		return opShr, true
	case x86asm.SAR:
		return opSar, true
	case x86asm.ROR:
		return opRor, true
	}
	return 0, false
}

// execute executes the instruction. It returns false if the instruction is unknown.
func (x *amd64Step) execute(s *state) bool {
	first, second := &x.Operands[0], &x.Operands[1]
	if op, ok := binaryOp(x.Op); ok {
		return x.compute(s, op)
	}
	switch x.Op {
	case x86asm.NOP, x86asm.PREFETCHT0, x86asm.PREFETCHNTA, x86asm.CLD, x86asm.PAUSE:
		return true
	case x86asm.MOV:
		v, _, ok := x.get(s, second)
		return x.put(s, first, v) && (ok || first.Kind == code.InVector)
	case x86asm.MOVZX:
		v, _, ok := x.get(s, second)
		return ok && x.put(s, first, v)
	case x86asm.MOVSX, x86asm.MOVSXD:
		v, width, ok := x.get(s, second)
		return ok && x.put(s, first, x.signExtend(v, width, x.widthOf(first)))
	case x86asm.LEA:
		addr, ok := x.address(s, second)
		return ok && x.put(s, first, addr)
	case x86asm.CMP, x86asm.TEST, x86asm.BT:
		return x.compare(s)
	case x86asm.INC, x86asm.DEC, x86asm.NEG, x86asm.NOT:
		return x.unary(s)
	case x86asm.IMUL:
		return x.multiply(s)
	case x86asm.SBB:
		return x.borrow(s)
	case x86asm.PUSH:
		v, _, ok := x.get(s, first)
		s.registers[rsp] = x.binary(opSub, s.registers[rsp], constant(8), 8)
		x.write(s, s.registers[rsp], 8, v)
		return ok
	case x86asm.POP:
		v := x.read(s, s.registers[rsp], 8)
		s.registers[rsp] = x.binary(opAdd, s.registers[rsp], constant(8), 8)
		return x.put(s, first, v)
	case x86asm.LEAVE:
		s.registers[rsp] = x.binary(opAdd, s.registers[rbp], constant(8), 8)
		s.registers[rbp] = x.read(s, s.registers[rbp], 8)
		return true
	case x86asm.CDQE:
		s.registers[rax] = x.signExtend(s.registers[rax], 4, 8)
		return true
	case x86asm.CDQ, x86asm.CQO:
		s.registers[rdx] = x.unknown()
		return true
	case x86asm.XCHG:
		v, _, ok := x.get(s, first)
		w, _, ok2 := x.get(s, second)
		return ok && ok2 && x.put(s, first, w) && x.put(s, second, v)
	case x86asm.RET:
		x.ret(s)
		return true
	case x86asm.JMP, x86asm.CALL:
		return x.transfer(s)
	}
	return x.conditional(s) || x.vector(s)
}

func (x *amd64Step) compute(s *state, op operation) bool {
	v, width, ok := x.get(s, &x.Operands[0])
	w, _, ok2 := x.get(s, &x.Operands[1])
	if !ok || !ok2 {
		return false
	}
	result := x.binary(op, v, w, width)
	s.flags = Condition{X: result, Width: width, Relation: Equal}
	if op == opSub {
		s.flags = Condition{X: v, Y: x.cut(w, width), Width: width, Relation: Equal}
	}
	return x.put(s, &x.Operands[0], result)
}

func (x *amd64Step) compare(s *state) bool {
	v, width, ok := x.get(s, &x.Operands[0])
	w, _, ok2 := x.get(s, &x.Operands[1])
	if !ok || !ok2 {
		return false
	}
	s.flags = Condition{Width: width, Relation: Equal}
	switch x.Op {
	case x86asm.TEST:
		s.flags.X = x.binary(opAnd, v, w, width)
	case x86asm.CMP:
		s.flags.X, s.flags.Y = v, x.cut(w, width)
	default: // BT: the carry flag is the bit, as if zero was compared with it
		amount := x.binary(opAnd, w, constant(int64(width*8-1)), width)
		s.flags.Y = x.binary(opAnd, x.binary(opShr, v, amount, width), constant(1), width)
	}
	return true
}

func (x *amd64Step) unary(s *state) bool {
	v, width, ok := x.get(s, &x.Operands[0])
	if !ok {
		return false
	}
	var result Value
	switch x.Op {
	case x86asm.INC:
		result = x.binary(opAdd, v, constant(1), width)
	case x86asm.DEC:
		result = x.binary(opSub, v, constant(1), width)
	case x86asm.NEG:
		result = x.binary(opSub, constant(0), v, width)
	default:
		return x.put(s, &x.Operands[0], x.binary(opXor, v, constant(-1), width))
	}
	s.flags = Condition{X: result, Width: width, Relation: Equal}
	if x.Op == x86asm.NEG {
		s.flags = Condition{Y: v, Width: width, Relation: Equal}
	}
	return x.put(s, &x.Operands[0], result)
}

func (x *amd64Step) multiply(s *state) bool {
	first, second := &x.Operands[0], &x.Operands[1]
	if second.Kind == code.NoOperand {
		return false
	}
	v, width, ok := x.get(s, first)
	w, _, ok2 := x.get(s, second)
	if third := &x.Operands[2]; third.Kind != code.NoOperand {
		v = w
		w, _, ok2 = x.get(s, third)
	}
	s.flags = Condition{}
	return ok && ok2 && x.put(s, first, x.binary(opMul, v, w, width))
}

// borrow executes sbb, which compilers use to turn the carry flag into a mask.
func (x *amd64Step) borrow(s *state) bool {
	v, width, ok := x.get(s, &x.Operands[0])
	w, _, ok2 := x.get(s, &x.Operands[1])
	if !ok || !ok2 {
		return false
	}
	if v != w || s.flags.Relation == 0 {
		s.flags = Condition{}
		return x.put(s, &x.Operands[0], x.unknown())
	}
	c := s.flags
	c.Relation = below
	x.fork(s, c, func(t *state, carry bool) {
		v := constant(0)
		if carry {
			v = x.cut(constant(-1), width)
		}
		x.put(t, &x.Operands[0], v)
	})
	return true
}

// transfer executes a jump or a call.
func (x *amd64Step) transfer(s *state) bool {
	call := x.Op == x86asm.CALL
	first := &x.Operands[0]
	to, name, known := uint64(0), "", false
	var pointer Value
	switch first.Kind {
	case code.Target:
		to, known = uint64(first.Number), true
	case code.InMemory, code.InThread:
		addr, _ := x.address(s, first)
		to, name, known = x.slot(addr)
	}
	if !known {
		v, _, ok := x.get(s, first)
		if !ok {
			return false
		}
		to, known = v.Constant()
		pointer = v
	}
	known = known && to != 0
	switch {
	case call && known:
		x.call(s, to, x.End)
	case call:
		x.callUnknown(s, Call{Name: name, Pointer: pointer}, x.End)
	case known && first.Kind == code.Target:
		x.jump(s, to)
	case known:
		x.jumpByPointer(s, to)
	default:
		x.exit(s, Call{Name: name, Pointer: pointer})
	}
	return true
}

// conditional executes an instruction that depends on the flags.
func (x *amd64Step) conditional(s *state) bool {
	c := s.flags
	if x.Use == code.NoCondition || c.Relation == 0 {
		return false
	}
	// Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, B.1.
	c.Relation = [...]relation{overflow, notOverflow, below, notBelow, Equal, NotEqual, notAbove, above,
		negative, notNegative, parity, notParity, less, notLess, notGreater, greater}[x.Condition]
	first := &x.Operands[0]
	switch x.Use {
	case code.Jump:
		if first.Kind != code.Target {
			return false
		}
		x.fork(s, c, func(t *state, taken bool) {
			if taken {
				x.jump(t, uint64(first.Number))
			}
		})
	case code.Set:
		x.fork(s, c, func(t *state, taken bool) {
			v := constant(0)
			if taken {
				v = constant(1)
			}
			if !x.put(t, first, v) {
				t.fail("the instruction at %#x is not known", x.start)
			}
		})
	default:
		v, _, ok := x.get(s, &x.Operands[1])
		old, _, ok2 := x.get(s, first)
		if !ok || !ok2 {
			return false
		}
		x.fork(s, c, func(t *state, taken bool) {
			if !taken {
				x.put(t, first, old)
				return
			}
			x.put(t, first, v)
		})
	}
	return true
}

// vector executes vector instructions: their values are not tracked, but their stores
// change memory.
func (x *amd64Step) vector(s *state) bool {
	first, second := &x.Operands[0], &x.Operands[1]
	if second.Kind == code.InVector {
		if addr, ok := x.address(s, first); ok {
			x.write(s, addr, min(max(int(x.Accessed), 16), maxVector), x.unknown())
			return true
		}
		if first.Kind == code.InRegister {
			s.registers[first.Register] = x.cut(x.unknown(), int(first.Width))
			return true
		}
	}
	if first.Kind != code.InVector {
		return false
	}
	switch x.Op {
	case x86asm.UCOMISS, x86asm.UCOMISD, x86asm.COMISS, x86asm.COMISD:
		s.flags = Condition{}
	}
	return true
}
