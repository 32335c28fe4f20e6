// SPDX-License-Identifier: Apache-2.0

package layout

import (
	"errors"
	"fmt"
	"slices"

	"crypto-auditing/src/internal/layout/code"
)

// maxReturns bounds the places where a function returns.
const maxReturns = 16

// body is the code of a function.
type body struct {
	instructions []code.Instruction
	start, end   uint64
}

func (b *body) contains(addr uint64) bool { return addr >= b.start && addr < b.end }

// body sweeps the code that belongs to addr.
func (d *decoder) body(addr uint64) (*body, error) {
	b := &body{}
	var err error
	if b.start, b.end, err = d.image.Extent(addr); err != nil {
		return nil, err
	}
	err = code.Sweep(d.image, b.start, b.end, func(in code.Instruction) bool {
		b.instructions = append(b.instructions, in)
		return true
	})
	return b, err
}

// returnSites makes the places where a function returns sites of the role
// HandshakeEnd: jumps to other functions, and returns. The kernel does not
// emulate returns on x86-64. It does emulate the jump of a stack protector, which
// precedes them, and is taken only to end the program.
func (d *decoder) returnSites(name string, entry uint64) error {
	main, err := d.body(entry)
	if err != nil {
		return err
	}
	parts := []*body{main}
	// Parts of the function that the compiler moved elsewhere go back to it.
	for _, in := range main.instructions {
		if in.Target == 0 || in.Call || main.contains(in.Target) || slices.ContainsFunc(parts, func(b *body) bool { return b.contains(in.Target) }) {
			continue
		}
		part, err := d.body(in.Target)
		if err == nil && part.start != in.Target && d.image.IsStart(in.Target) {
			continue
		}
		if err == nil && slices.ContainsFunc(part.instructions, func(back code.Instruction) bool {
			return !back.Call && main.contains(back.Target) && back.Target != entry
		}) {
			parts = append(parts, part)
		}
	}
	var sites []Site
	for _, part := range parts {
		for i, in := range part.instructions {
			outside := in.Target != 0 && !in.Call && !slices.ContainsFunc(parts, func(b *body) bool { return b.contains(in.Target) })
			switch {
			case outside && in.Name != "jmp" && in.Name != "b":
				return fmt.Errorf("the jump at %#x may leave %s or not", in.Addr, name)
			case outside:
				sites = append(sites, d.endSite(name, in, 0))
			case in.Returns:
				sites = append(sites, d.returnSite(name, parts, part.instructions[:i+1]))
			}
		}
	}
	if len(sites) == 0 || len(sites) > maxReturns {
		return fmt.Errorf("%s returns at %d places", name, len(sites))
	}
	for i := range sites {
		var ok bool
		if sites[i].Offset, ok = d.image.Offset(sites[i].Addr); !ok {
			return errors.New("it is not in code")
		}
	}
	d.lib.Sites = append(d.lib.Sites, sites...)
	return nil
}

func (d *decoder) endSite(name string, in code.Instruction, delta int) Site {
	s := Site{Role: HandshakeEnd, Function: name, Entry: in.Addr, Addr: in.Addr, StackDelta: uint32(delta), Instruction: in.Name, Emulated: in.Name != ""}
	if in.Name == "" {
		s.Instruction = "ret"
	}
	return s
}

// returnSite returns the site of the return that is the last of the instructions:
// the jump of a stack protector before it, or the return itself.
func (d *decoder) returnSite(name string, parts []*body, instructions []code.Instruction) Site {
	last := instructions[len(instructions)-1]
	delta := 0
	for i := len(instructions) - 2; last.Name == "" && i >= 0; i-- {
		in := instructions[i]
		if in.Name == "jcc" && d.callsStackFailure(in.Target) && !jumpedInto(parts, in.Addr+1, last.Addr+1) {
			return d.endSite(name, in, delta)
		}
		if in.Raises == 0 && (!in.Straight || in.Lowers != 0) {
			break
		}
		delta += in.Raises
	}
	return d.endSite(name, last, 0)
}

// callsStackFailure reports whether the code at addr is the call that ends the
// program after the stack was overwritten.
func (d *decoder) callsStackFailure(addr uint64) bool {
	found := false
	_ = code.Sweep(d.image, addr, addr+16, func(in code.Instruction) bool {
		if in.Call {
			_, called, _ := d.image.Stub(in.Target)
			found = called == "__stack_chk_fail"
		}
		return in.Straight && !in.Call
	})
	return found
}

// jumpedInto reports whether a jump goes to an address from start to before end.
func jumpedInto(parts []*body, start, end uint64) bool {
	for _, b := range parts {
		for _, in := range b.instructions {
			if !in.Call && in.Target >= start && in.Target < end {
				return true
			}
		}
	}
	return false
}
