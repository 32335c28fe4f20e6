// SPDX-License-Identifier: Apache-2.0

package symbolic

import "crypto-auditing/src/internal/layout/code"

// memory executes loads and stores.
func (i *arm64Step) memory() bool {
	switch {
	case i.is(0x3a000000, 0x28000000):
		i.pair()
	case i.is(0x3b000000, 0x39000000), i.is(0x3b200000, 0x38000000), i.is(0x3b200c00, 0x38200800):
		return i.single()
	case i.is(0x3fc00000, 0x08c00000): // ldar and similar
		i.set(i.rd, i.read(i.state, i.state.registers[i.rn], 1<<(i.x>>30)), 8)
	default:
		return false
	}
	return true
}

// arm64Vector is the assumed size of vector stores, in bytes: more than the actual size
// only makes adjacent memory unknown.
const arm64Vector = 16

// plus returns the register rn plus a number.
func (i *arm64Step) plus(n int64) Value {
	return i.binary(opAdd, i.state.registers[i.rn], constant(n), 8)
}

// single executes ldr and str in all their forms.
func (i *arm64Step) single() bool {
	x := i.x
	size := uint(x >> 30)
	vector := x>>26&1 != 0
	if vector && x>>23&1 != 0 {
		size = 4
	}
	addr, after := i.state.registers[i.rn], Value{}
	back := false
	switch {
	case x>>24&1 != 0:
		addr = i.plus(int64(x>>10&0xfff) << size)
	case x>>21&1 != 0:
		index, ok := i.index()
		if !ok {
			return false
		}
		if x>>12&1 != 0 {
			index = i.binary(opShl, index, constant(int64(size)), 8)
		}
		addr = i.binary(opAdd, addr, index, 8)
	default:
		moved := i.plus(code.Signed(x>>12, 9))
		switch x >> 10 & 3 {
		case 0, 2:
			addr = moved
		case 1:
			after, back = moved, true
		default:
			addr, after, back = moved, moved, true
		}
	}
	i.transferSingle(addr, size, vector)
	if back {
		i.state.registers[i.rn] = after
	}
	return true
}

// index returns the register rm, extended as the instruction specifies.
func (i *arm64Step) index() (Value, bool) {
	switch i.x >> 13 & 7 {
	case 2:
		return i.cut(i.get(i.rm, 8), 4), true
	case 3, 7:
		return i.get(i.rm, 8), true
	case 6:
		return i.signExtend(i.get(i.rm, 8), 4, 8), true
	}
	return Value{}, false
}

// transferSingle loads or stores a register of 1<<size bytes.
func (i *arm64Step) transferSingle(addr Value, size uint, vector bool) {
	n := 1 << size
	operation := i.x >> 22 & 3
	switch {
	case vector:
		if operation&1 == 0 {
			i.write(i.state, addr, arm64Vector, i.unknown())
		}
	case operation == 0:
		i.write(i.state, addr, n, i.get(i.rd, n))
	case operation == 1:
		i.set(i.rd, i.read(i.state, addr, n), 8)
	case size == 3:
		// A prefetch.
	case operation == 2:
		i.set(i.rd, i.signExtend(i.read(i.state, addr, n), n, 8), 8)
	default:
		i.set(i.rd, i.signExtend(i.read(i.state, addr, n), n, 4), 4)
	}
}

// pair executes ldp and stp.
func (i *arm64Step) pair() {
	x := i.x
	vector := x>>26&1 != 0
	n := 4
	switch {
	case vector:
		n = 4 << (x >> 30)
	case x>>31 != 0:
		n = 8
	}
	offset := code.Signed(x>>15, 7) * int64(n)
	second := int(x >> 10 & 31)
	mode := x >> 23 & 3
	addr := i.state.registers[i.rn]
	moved := i.plus(offset)
	if mode != 1 {
		addr = moved
	}
	following := i.binary(opAdd, addr, constant(int64(n)), 8)
	switch load := x>>22&1 != 0; {
	case vector && !load:
		i.write(i.state, addr, 2*arm64Vector, i.unknown())
	case vector:
	case load:
		a, b := i.read(i.state, addr, n), i.read(i.state, following, n)
		if x>>30 == 1 {
			a, b = i.signExtend(a, 4, 8), i.signExtend(b, 4, 8)
		}
		i.set(i.rd, a, 8)
		i.set(second, b, 8)
	default:
		i.write(i.state, addr, n, i.get(i.rd, n))
		i.write(i.state, following, n, i.get(second, n))
	}
	if mode == 1 || mode == 3 {
		i.state.registers[i.rn] = moved
	}
}
