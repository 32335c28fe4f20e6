// SPDX-License-Identifier: Apache-2.0

package symbolic

import (
	"bytes"

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
)

// amd64 executes x86-64 instructions.
type amd64 struct{}

func (amd64) result() int       { return rax }
func (amd64) arguments() [6]int { return [6]int{rdi, rsi, rdx, rcx, r8, r9} }
func (amd64) stack() int        { return rsp }
func (amd64) saved(r int) bool {
	return r == rbx || r == rbp || r == rsp || r >= 12
}

// maxVector is the size of the largest vector store, in bytes.
const maxVector = 64

// amd64Step is the execution of one instruction.
type amd64Step struct {
	*run
	in         x86asm.Inst
	start, end uint64
}

func (amd64) step(r *run, s *state) {
	b := r.image.Code(s.pc)
	if bytes.HasPrefix(b, []byte(code.EndBranch)) {
		s.pc += uint64(len(code.EndBranch))
		return
	}
	start := s.pc
	if code.HasNoTrack(b) {
		b = b[1:]
		s.pc++
	}
	if len(b) == 0 {
		s.fail("there is no code at %#x", s.pc)
		return
	}
	in, ok := code.Decode(b)
	if !ok {
		s.fail("the code at %#x cannot be decoded", s.pc)
		return
	}
	s.pc += uint64(in.Len)
	x := amd64Step{run: r, in: in, start: start, end: s.pc}
	if !x.execute(s) {
		s.fail("the instruction at %#x is not known: %v", start, in)
	}
}

// address returns the address of a memory operand.
func (x *amd64Step) address(s *state, m x86asm.Mem) (Value, bool) {
	if m.Segment == x86asm.FS || m.Segment == x86asm.GS {
		return x.unknown(), true
	}
	v := constant(m.Disp)
	switch {
	case m.Base == x86asm.RIP:
		v = constant(int64(x.end) + m.Disp)
	case m.Base != 0:
		n, width, _, ok := code.Register(m.Base)
		if !ok || width != 8 {
			return Value{}, false
		}
		v = x.binary(opAdd, s.registers[n], v, 8)
	}
	if m.Index != 0 && m.Scale != 0 {
		n, width, _, ok := code.Register(m.Index)
		if !ok || width != 8 {
			return Value{}, false
		}
		v = x.binary(opAdd, v, x.binary(opMul, s.registers[n], constant(int64(m.Scale)), 8), 8)
	}
	return v, true
}

// width returns the width of an operand.
func (x *amd64Step) width(a x86asm.Arg) int {
	switch a := a.(type) {
	case x86asm.Reg:
		if _, width, _, ok := code.Register(a); ok {
			return width
		}
	case x86asm.Mem:
		return x.in.MemBytes
	}
	return x.in.DataSize / 8
}

// get returns the value of an operand.
func (x *amd64Step) get(s *state, a x86asm.Arg) (v Value, width int, ok bool) {
	switch a := a.(type) {
	case x86asm.Reg:
		n, width, shift, ok := code.Register(a)
		if !ok {
			return Value{}, 0, false
		}
		v := s.registers[n]
		if shift > 0 {
			v = x.binary(opShr, v, constant(int64(shift)), 8)
		}
		return x.cut(v, width), width, true
	case x86asm.Imm:
		return constant(int64(a)), x.in.DataSize / 8, true
	case x86asm.Mem:
		addr, ok := x.address(s, a)
		if !ok || x.in.MemBytes == 0 || x.in.MemBytes > 8 {
			return Value{}, 0, false
		}
		return x.read(s, addr, x.in.MemBytes), x.in.MemBytes, true
	}
	return Value{}, 0, false
}

// put sets an operand.
func (x *amd64Step) put(s *state, a x86asm.Arg, v Value) bool {
	switch a := a.(type) {
	case x86asm.Reg:
		n, width, shift, ok := code.Register(a)
		if !ok {
			return code.IsVector(a)
		}
		s.registers[n] = x.merge(s.registers[n], v, width, shift)
		return true
	case x86asm.Mem:
		addr, ok := x.address(s, a)
		if !ok || x.in.MemBytes == 0 {
			return false
		}
		x.write(s, addr, x.in.MemBytes, v)
		return true
	}
	return false
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
	first, second := x.in.Args[0], x.in.Args[1]
	if op, ok := binaryOp(x.in.Op); ok {
		return x.compute(s, op)
	}
	switch x.in.Op {
	case x86asm.NOP, x86asm.PREFETCHT0, x86asm.PREFETCHNTA, x86asm.CLD, x86asm.PAUSE:
		return true
	case x86asm.MOV:
		v, _, ok := x.get(s, second)
		return x.put(s, first, v) && (ok || code.IsVector(first))
	case x86asm.MOVZX:
		v, _, ok := x.get(s, second)
		return ok && x.put(s, first, v)
	case x86asm.MOVSX, x86asm.MOVSXD:
		v, width, ok := x.get(s, second)
		return ok && x.put(s, first, x.signExtend(v, width, x.width(first)))
	case x86asm.LEA:
		m, ok := second.(x86asm.Mem)
		if !ok {
			return false
		}
		addr, ok := x.address(s, m)
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
	v, width, ok := x.get(s, x.in.Args[0])
	w, _, ok2 := x.get(s, x.in.Args[1])
	if !ok || !ok2 {
		return false
	}
	result := x.binary(op, v, w, width)
	s.flags = Condition{X: result, Width: width, Relation: Equal}
	if op == opSub {
		s.flags = Condition{X: v, Y: x.cut(w, width), Width: width, Relation: Equal}
	}
	return x.put(s, x.in.Args[0], result)
}

func (x *amd64Step) compare(s *state) bool {
	v, width, ok := x.get(s, x.in.Args[0])
	w, _, ok2 := x.get(s, x.in.Args[1])
	if !ok || !ok2 {
		return false
	}
	s.flags = Condition{Width: width, Relation: Equal}
	switch x.in.Op {
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
	v, width, ok := x.get(s, x.in.Args[0])
	if !ok {
		return false
	}
	var result Value
	switch x.in.Op {
	case x86asm.INC:
		result = x.binary(opAdd, v, constant(1), width)
	case x86asm.DEC:
		result = x.binary(opSub, v, constant(1), width)
	case x86asm.NEG:
		result = x.binary(opSub, constant(0), v, width)
	default:
		return x.put(s, x.in.Args[0], x.binary(opXor, v, constant(-1), width))
	}
	s.flags = Condition{X: result, Width: width, Relation: Equal}
	if x.in.Op == x86asm.NEG {
		s.flags = Condition{Y: v, Width: width, Relation: Equal}
	}
	return x.put(s, x.in.Args[0], result)
}

func (x *amd64Step) multiply(s *state) bool {
	first, second := x.in.Args[0], x.in.Args[1]
	if second == nil {
		return false
	}
	v, width, ok := x.get(s, first)
	w, _, ok2 := x.get(s, second)
	if x.in.Args[2] != nil {
		v = w
		w, _, ok2 = x.get(s, x.in.Args[2])
	}
	s.flags = Condition{}
	return ok && ok2 && x.put(s, first, x.binary(opMul, v, w, width))
}

// borrow executes sbb, which compilers use to turn the carry flag into a mask.
func (x *amd64Step) borrow(s *state) bool {
	v, width, ok := x.get(s, x.in.Args[0])
	w, _, ok2 := x.get(s, x.in.Args[1])
	if !ok || !ok2 {
		return false
	}
	if v != w || s.flags.Relation == 0 {
		s.flags = Condition{}
		return x.put(s, x.in.Args[0], x.unknown())
	}
	c := s.flags
	c.Relation = below
	x.fork(s, c, func(t *state, carry bool) {
		v := constant(0)
		if carry {
			v = x.cut(constant(-1), width)
		}
		x.put(t, x.in.Args[0], v)
	})
	return true
}

// transfer executes a jump or a call.
func (x *amd64Step) transfer(s *state) bool {
	call := x.in.Op == x86asm.CALL
	target, name, known := uint64(0), "", false
	var pointer Value
	switch a := x.in.Args[0].(type) {
	case x86asm.Rel:
		target, known = x.end+uint64(int64(a)), true
	case x86asm.Mem:
		addr, ok := x.address(s, a)
		if !ok {
			return false
		}
		target, name, known = x.slot(addr)
	}
	if !known {
		v, _, ok := x.get(s, x.in.Args[0])
		if !ok {
			return false
		}
		target, known = v.Constant()
		pointer = v
	}
	known = known && target != 0
	switch {
	case call && known:
		x.call(s, target, x.end)
	case call:
		x.callUnknown(s, Call{Name: name, Pointer: pointer}, x.end)
	case known && x.isDirect():
		x.jump(s, target)
	case known:
		x.jumpByPointer(s, target)
	default:
		x.leave(s, Call{Name: name, Pointer: pointer})
	}
	return true
}

// isDirect reports whether the target of a jump or call is in the instruction.
func (x *amd64Step) isDirect() bool {
	_, ok := x.in.Args[0].(x86asm.Rel)
	return ok
}

// conditional executes an instruction that depends on the flags.
func (x *amd64Step) conditional(s *state) bool {
	form, relation := conditionOf(x.in.Op)
	if form == 0 || s.flags.Relation == 0 {
		return false
	}
	c := s.flags
	c.Relation = relation
	first := x.in.Args[0]
	switch form {
	case formJump:
		rel, ok := first.(x86asm.Rel)
		if !ok {
			return false
		}
		x.fork(s, c, func(t *state, taken bool) {
			if taken {
				x.jump(t, x.end+uint64(int64(rel)))
			}
		})
	case formSet:
		x.fork(s, c, func(t *state, taken bool) {
			v := constant(0)
			if taken {
				v = constant(1)
			}
			if !x.put(t, first, v) {
				t.fail("the instruction at %#x is not known: %v", x.start, x.in)
			}
		})
	default:
		v, _, ok := x.get(s, x.in.Args[1])
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
	first, second := x.in.Args[0], x.in.Args[1]
	if m, ok := first.(x86asm.Mem); ok && code.IsVector(second) {
		addr, ok := x.address(s, m)
		if !ok {
			return false
		}
		x.write(s, addr, min(max(x.in.MemBytes, 16), maxVector), x.unknown())
		return true
	}
	if r, ok := first.(x86asm.Reg); ok && code.IsVector(second) {
		if n, width, _, ok := code.Register(r); ok {
			s.registers[n] = x.cut(x.unknown(), width)
			return true
		}
	}
	if !code.IsVector(first) {
		return false
	}
	switch x.in.Op {
	case x86asm.UCOMISS, x86asm.UCOMISD, x86asm.COMISS, x86asm.COMISD:
		s.flags = Condition{}
	}
	return true
}
