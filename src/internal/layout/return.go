// SPDX-License-Identifier: Apache-2.0

package layout

import (
	"errors"
	"fmt"
	"slices"

	"crypto-auditing/src/internal/layout/code"
)

// maxReturns bounds the number of returns of a function.
const maxReturns = 16

// returnSites adds a site of the role HandshakeEnd at each return of a function: jumps to
// other functions, and return instructions. The kernel does not emulate returns on
// x86-64. It does emulate the stack protector's jump before them, which is only taken to
// abort the program.
func (d *decoder) returnSites(name string, entry uint64) error {
	main, err := code.Read(d.image, entry)
	if err != nil {
		return err
	}
	parts := []*code.Body{main}
	// Parts of the function that the compiler moved elsewhere jump back to it.
	for _, in := range main.Instructions {
		if in.Target == 0 || in.Call || main.Contains(in.Target) || slices.ContainsFunc(parts, func(b *code.Body) bool { return b.Contains(in.Target) }) {
			continue
		}
		part, err := code.Read(d.image, in.Target)
		if err == nil && part.Start != in.Target && d.image.IsStart(in.Target) {
			continue
		}
		if err == nil && slices.ContainsFunc(part.Instructions, func(back code.Instruction) bool {
			return !back.Call && main.Contains(back.Target) && back.Target != entry
		}) {
			parts = append(parts, part)
		}
	}
	var sites []Site
	for _, part := range parts {
		for i, in := range part.Instructions {
			outside := in.Target != 0 && !in.Call && !slices.ContainsFunc(parts, func(b *code.Body) bool { return b.Contains(in.Target) })
			switch {
			case outside && in.Name != "jmp" && in.Name != "b":
				return fmt.Errorf("the jump at %#x may leave %s or not", in.Addr, name)
			case outside:
				sites = append(sites, d.endSite(name, in, 0))
			case in.Returns:
				sites = append(sites, d.returnSite(name, parts, part.Instructions[:i+1]))
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

// returnSite returns the site for the return at the end of the instructions: the stack
// protector's jump before it, or the return itself.
func (d *decoder) returnSite(name string, parts []*code.Body, instructions []code.Instruction) Site {
	last := instructions[len(instructions)-1]
	delta := 0
	for i := len(instructions) - 2; last.Name == "" && i >= 0; i-- {
		in := instructions[i]
		if in.Name == "jcc" && code.CallsStackFailure(d.image, in.Target) && !code.JumpedInto(parts, in.Addr+1, last.Addr+1) {
			return d.endSite(name, in, delta)
		}
		if in.Raises == 0 && (!in.Straight || in.Lowers != 0) {
			break
		}
		delta += in.Raises
	}
	return d.endSite(name, last, 0)
}
