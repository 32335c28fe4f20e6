// SPDX-License-Identifier: Apache-2.0

package decoder

import (
	"debug/elf"
	"fmt"
	"slices"

	"golang.org/x/arch/x86/x86asm"

	"crypto-auditing/src/internal/capture"
	"crypto-auditing/src/internal/layout"
	"crypto-auditing/src/internal/layout/code"
)

// maxReturns bounds the number of returns of a function.
const maxReturns = 16

// returnSites adds a site of the role HandshakeEnd at each return of a function: jumps to
// other functions, and return instructions. The kernel does not emulate returns on
// x86-64. It does emulate the stack protector's jump before them, which is only taken to
// abort the program. On arm64 it emulates them.
func (d *decoder) returnSites(name string, entry uint64) error {
	main, err := code.Read(d.image, entry)
	if err != nil {
		return err
	}
	parts, others := []*code.Body{main}, []*code.Body(nil)
	// Parts of the function that the compiler moved elsewhere jump back to it.
	for _, in := range main.Instructions {
		if in.Target == 0 || in.Call || contains(parts, in.Target) || contains(others, in.Target) {
			continue
		}
		part, err := code.Read(d.image, in.Target)
		if err != nil || part.Start != in.Target && d.image.IsStart(in.Target) {
			continue
		}
		if slices.ContainsFunc(part.Instructions, func(back code.Instruction) bool {
			return !back.Call && main.Contains(back.Target) && back.Target != entry
		}) {
			parts = append(parts, part)
		} else {
			others = append(others, part)
		}
	}
	var sites []layout.Site
	for _, part := range parts {
		for i, in := range part.Instructions {
			outside := in.Target != 0 && !in.Call && !contains(parts, in.Target)
			switch {
			case outside && in.Name != "jmp" && in.Name != "b":
				return fmt.Errorf("the jump at %#x may leave %s or not", in.Addr, name)
			case outside:
				// The result of the other function is not known yet.
				sites = append(sites, d.endSite(name, in, 0, capture.NoRegister))
			case in.Returns:
				sites = append(sites, d.returnSite(name, parts, part.Instructions[:i+1]))
			}
		}
	}
	if len(sites) == 0 || len(sites) > maxReturns {
		return fmt.Errorf("%s returns at %d places", name, len(sites))
	}
	for i := range sites {
		if sites[i].Offset, err = d.probeOffset(sites[i].Addr); err != nil {
			return err
		}
	}
	d.lib.Sites = append(d.lib.Sites, sites...)
	return nil
}

func contains(bodies []*code.Body, addr uint64) bool {
	return slices.ContainsFunc(bodies, func(b *code.Body) bool { return b.Contains(addr) })
}

func (d *decoder) endSite(name string, in code.Instruction, delta int, result capture.Register) layout.Site {
	s := layout.Site{Role: layout.HandshakeEnd, Function: name, Entry: in.Addr, Addr: in.Addr, StackDelta: uint32(delta), Instruction: in.Name, Emulated: in.Name != ""}
	if in.Name == "" {
		s.Instruction = "ret"
	}
	if result != capture.NoRegister {
		s.Params = []layout.Param{{Kind: layout.Result, Register: result}}
	}
	return s
}

// resultRegister returns the register that holds the result of a function before the
// instructions, which run straight to its return: the register that they copy to the
// result register, or the result register itself if they do not change it. It is
// NoRegister if this is ambiguous.
func (d *decoder) resultRegister(instructions []code.Instruction) capture.Register {
	if d.lib.Machine == elf.EM_AARCH64 {
		// The site is the return instruction itself.
		return capture.X0
	}
	from, changed := 0, map[int]bool{}
	for _, in := range instructions {
		decoded, ok := code.Decode(d.image.Code(in.Addr))
		if !ok {
			return capture.NoRegister
		}
		to, isRegister := decoded.Args[0].(x86asm.Reg)
		number, width, _, general := code.Register(to)
		if !isRegister || !general || decoded.Op == x86asm.TEST || decoded.Op == x86asm.CMP {
			continue
		}
		if number == 0 {
			source, isCopy := decoded.Args[1].(x86asm.Reg)
			copied, _, shift, general := code.Register(source)
			if decoded.Op != x86asm.MOV || width < 4 || !isCopy || !general || shift != 0 || changed[copied] || changed[0] {
				return capture.NoRegister
			}
			from = copied
		}
		changed[number] = true
	}
	return [...]capture.Register{
		capture.RAX, capture.RCX, capture.RDX, capture.RBX, capture.RSP, capture.RBP, capture.RSI, capture.RDI,
		capture.R8, capture.R9, capture.R10, capture.R11, capture.R12, capture.R13, capture.R14, capture.R15,
	}[from]
}

// returnSite returns the site for the return at the end of the instructions: the stack
// protector's jump before it, or the return itself.
func (d *decoder) returnSite(name string, parts []*code.Body, instructions []code.Instruction) layout.Site {
	last := instructions[len(instructions)-1]
	delta := 0
	for i := len(instructions) - 2; last.Name == "" && i >= 0; i-- {
		in := instructions[i]
		if in.Name == "jcc" && code.CallsStackFailure(d.image, in.Target) && !code.JumpedInto(parts, in.Addr+1, last.Addr+1) {
			return d.endSite(name, in, delta, d.resultRegister(instructions[i+1:]))
		}
		effect := code.EffectOf(d.image, in)
		if effect.Raises == 0 && (!effect.Straight || effect.Lowers != 0) {
			break
		}
		delta += effect.Raises
	}
	return d.endSite(name, last, 0, d.resultRegister(instructions[len(instructions)-1:]))
}
