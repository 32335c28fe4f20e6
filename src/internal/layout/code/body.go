// SPDX-License-Identifier: Apache-2.0

package code

import (
	"slices"

	"crypto-auditing/src/internal/layout/image"
)

// Body is the code of a function, or of a part of a function that the compiler moved
// elsewhere.
type Body struct {
	Instructions []Instruction
	Start, End   uint64
}

// Contains reports whether addr is in the code.
func (b *Body) Contains(addr uint64) bool { return addr >= b.Start && addr < b.End }

// Read decodes the code that belongs to addr.
func Read(m *image.Image, addr uint64) (*Body, error) {
	b := &Body{}
	var err error
	if b.Start, b.End, err = m.Extent(addr); err != nil {
		return nil, err
	}
	const averageSize = 4
	b.Instructions = make([]Instruction, 0, min(b.End-b.Start, maxSweep)/averageSize)
	err = Sweep(m, b.Start, b.End, func(in Instruction) bool {
		b.Instructions = append(b.Instructions, in)
		return true
	})
	return b, err
}

// maxPrologue bounds the instructions before a site.
const maxPrologue = 16

// FirstEmulated returns the first instruction of a function that the kernel emulates, and
// the bytes by which the stack pointer is lower there than at the entry. ok is false if
// the code before is not straight-line, changes one of the registers in keep, or is jumped
// back to.
func FirstEmulated(m *image.Image, entry uint64, keep []int) (at Instruction, delta uint32, ok bool) {
	start, end, err := m.Extent(entry)
	if err != nil || start != entry {
		return at, 0, false
	}
	n, found, back := 0, false, false
	err = Sweep(m, start, end, func(in Instruction) bool {
		if found {
			back = back || !in.Call && in.Target > entry && in.Target < at.Addr+uint64(at.Size)
			return !back
		}
		if in.Name != "" {
			at, found = in, true
			back = !in.Call && in.Target > entry && in.Target < at.Addr+uint64(at.Size)
			return !back
		}
		n++
		effect := EffectOf(m, in)
		delta += uint32(effect.Lowers)
		return effect.Straight && n < maxPrologue && !slices.Contains(keep, effect.Writes)
	})
	return at, delta, err == nil && found && !back
}

// CallsStackFailure reports whether the code at addr is the call that aborts the program
// after a stack buffer overflow.
func CallsStackFailure(m *image.Image, addr uint64) bool {
	found := false
	_ = Sweep(m, addr, addr+16, func(in Instruction) bool {
		if in.Call {
			_, called, _ := m.Stub(in.Target)
			found = called == "__stack_chk_fail"
		}
		return !in.Call && EffectOf(m, in).Straight
	})
	return found
}

// JumpedInto reports whether a jump targets an address from start to before end.
func JumpedInto(parts []*Body, start, end uint64) bool {
	for _, b := range parts {
		for _, in := range b.Instructions {
			if !in.Call && in.Target >= start && in.Target < end {
				return true
			}
		}
	}
	return false
}
