// SPDX-License-Identifier: Apache-2.0

package code

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/arch/arm64/arm64asm"
)

// emulated returns the name of an instruction that Linux emulates on arm64, according to
// the reference decoder.
func emulated(op arm64asm.Op, in arm64asm.Inst) string {
	switch op {
	case arm64asm.B:
		if _, ok := in.Args[0].(arm64asm.Cond); ok {
			return "b.cond"
		}
		return "b"
	case arm64asm.BL:
		return "bl"
	case arm64asm.CBZ, arm64asm.CBNZ:
		return "cbz"
	case arm64asm.TBZ, arm64asm.TBNZ:
		return "tbz"
	case arm64asm.ADR, arm64asm.ADRP:
		return "adr"
	case arm64asm.RET:
		return "ret"
	}
	return ""
}

// checkARM64 compares the decoder with that of golang.org/x/arch.
func checkARM64(t *testing.T, x uint32) {
	b := binary.LittleEndian.AppendUint32(nil, x)
	in, err := arm64asm.Decode(b)
	if err != nil {
		return
	}
	const addr = 1 << 32
	got, effect, ok := decodeARM64(b, addr)
	if !ok {
		t.Fatalf("%08x (%v) is not decoded", x, in)
	}
	if want := emulated(in.Op, in); got.Name != want {
		t.Errorf("%08x (%v) is %q, want %q", x, in, got.Name, want)
	}
	for _, a := range in.Args {
		if rel, ok := a.(arm64asm.PCRel); ok && got.Target != 0 && got.Target != uint64(int64(addr)+int64(rel)) {
			t.Errorf("%08x (%v) has the target %#x", x, in, got.Target)
		}
	}
	checkProperties(t, x, in, effect)
	// Instructions that change the control flow, or the stack pointer by an unknown
	// amount, are not straight.
	switch in.Op {
	case arm64asm.B, arm64asm.BL, arm64asm.BR, arm64asm.BLR, arm64asm.RET, arm64asm.SVC, arm64asm.BRK:
		if effect.Straight {
			t.Errorf("%08x (%v) is straight", x, in)
		}
	}
	if !effect.Straight {
		return
	}
	// The register that a straight instruction writes is known.
	switch first := in.Args[0].(type) {
	case arm64asm.Reg:
		number := -1
		switch {
		case first >= arm64asm.W0 && first <= arm64asm.W30:
			number = int(first - arm64asm.W0)
		case first >= arm64asm.X0 && first <= arm64asm.X30:
			number = int(first - arm64asm.X0)
		}
		if number >= 0 && effect.Writes != number && writes(in.Op) {
			t.Errorf("%08x (%v) writes register %d, not %d", x, in, number, effect.Writes)
		}
	case arm64asm.RegSP:
		if first == arm64asm.RegSP(arm64asm.SP) && writes(in.Op) && effect.Lowers == 0 {
			t.Errorf("%08x (%v) changes the stack pointer, but is straight", x, in)
		}
		if number := int(arm64asm.Reg(first) - arm64asm.X0); number < 31 && writes(in.Op) && effect.Writes != number {
			t.Errorf("%08x (%v) writes register %d, not %d", x, in, number, effect.Writes)
		}
	}
}

// checkProperties compares the properties that matter for probes with the reference decoder.
func checkProperties(t *testing.T, x uint32, in arm64asm.Inst, got Effect) {
	var opens, closes, refused bool
	switch in.Op {
	case arm64asm.LDXR, arm64asm.LDAXR, arm64asm.LDXRB, arm64asm.LDAXRB, arm64asm.LDXRH, arm64asm.LDAXRH, arm64asm.LDXP, arm64asm.LDAXP:
		opens, refused = true, true
	case arm64asm.STXR, arm64asm.STLXR, arm64asm.STXRB, arm64asm.STLXRB, arm64asm.STXRH, arm64asm.STLXRH, arm64asm.STXP, arm64asm.STLXP:
		closes, refused = true, true
	case arm64asm.CLREX:
		closes = true
	case arm64asm.LDAR, arm64asm.LDARB, arm64asm.LDARH, arm64asm.STLR, arm64asm.STLRB, arm64asm.STLRH, arm64asm.SVC, arm64asm.BRK, arm64asm.HVC, arm64asm.SMC, arm64asm.HLT, arm64asm.ERET, arm64asm.WFE, arm64asm.MSR:
		refused = true
	case arm64asm.LDR, arm64asm.LDRSW, arm64asm.PRFM:
		_, refused = in.Args[1].(arm64asm.PCRel)
	case arm64asm.HINT, arm64asm.SYS, arm64asm.SYSL, arm64asm.DRPS, arm64asm.DCPS1, arm64asm.DCPS2, arm64asm.DCPS3,
		arm64asm.WFI, arm64asm.YIELD, arm64asm.SEV, arm64asm.SEVL, arm64asm.IC, arm64asm.DC, arm64asm.AT, arm64asm.TLBI:
		refused = got.Unsteppable // depends on the operands
	}
	if got.Opens != opens || got.Closes != closes || got.Unsteppable != refused {
		t.Errorf("%08x (%v): opens %v, closes %v, unsteppable %v", x, in, got.Opens, got.Closes, got.Unsteppable)
	}
	// A push of registers lowers the stack pointer by the operand's offset.
	for _, a := range in.Args {
		if m, ok := a.(arm64asm.MemImmediate); ok && m.Mode == arm64asm.AddrPreIndex && got.Straight && fmt.Sprintf("[SP,#%d]!", -got.Lowers) != m.String() {
			t.Errorf("%08x (%v) lowers the stack pointer by %d", x, in, got.Lowers)
		}
	}
}

// writes reports whether an instruction writes its first operand.
func writes(op arm64asm.Op) bool {
	switch op {
	case arm64asm.STR, arm64asm.STRB, arm64asm.STRH, arm64asm.STP, arm64asm.CMP, arm64asm.CMN, arm64asm.TST,
		arm64asm.STUR, arm64asm.STURB, arm64asm.STURH, arm64asm.PRFM, arm64asm.PRFUM, arm64asm.STNP, arm64asm.HINT:
		return false
	}
	return true
}

func TestInstructionsOfARM64MatchTheReferenceDecoder(t *testing.T) {
	// A step that is coprime to the number of words reaches all kinds.
	x := uint32(1)
	for range 300_000 {
		x += 2654435761
		checkARM64(t, x)
		// Stores of pairs with pre-index, and exclusive accesses, by any registers.
		checkARM64(t, x&0xfc3fffff|0x01800000)
		checkARM64(t, x&0xc0ffffff|0x08000000)
		if t.Failed() {
			return
		}
	}
}

// The kernel cannot execute these instructions at a probe, or a probe would make a program
// repeat a sequence forever.
func TestAProbeThatHarmsProgramsOnARM64IsRefused(t *testing.T) {
	const (
		nop, ret, push   = 0xd503201f, 0xd65f03c0, 0xa9be7bfd
		load, store      = 0x885ffc01, 0x8802fc01 // ldaxr w1, [x0]; stlxr w2, w1, [x0]
		pairLoad, clear  = 0xc87f0c02, 0xd503305f // ldxp x2, x3, [x0]; clrex
		branch, call     = 0x54ffffc1, 0x94000000
		harmless, cannot = "", "cannot execute"
		between          = "between an exclusive load and its store"
	)
	for name, c := range map[string]struct {
		code []uint32
		want string
	}{
		"push":                              {[]uint32{push}, harmless},
		"adrp":                              {[]uint32{0x90000000}, harmless},
		"call":                              {[]uint32{call}, harmless},
		"return":                            {[]uint32{ret}, harmless},
		"landing pad":                       {[]uint32{0xd503245f}, harmless},
		"signing of the return address":     {[]uint32{0xd503233f}, harmless},
		"signing with its address":          {[]uint32{0xdac1a3fe}, cannot},
		"signing with its address by key B": {[]uint32{0xdac187fe}, cannot},
		"authentication":                    {[]uint32{0xd50323bf}, cannot},
		"return with authentication":        {[]uint32{0xd65f0bff}, cannot},
		"load from a literal":               {[]uint32{0x58000041}, cannot},
		"prefetch of a literal":             {[]uint32{0xd8000040}, cannot},
		"exclusive load":                    {[]uint32{load}, cannot},
		"exclusive store":                   {[]uint32{nop, store}, cannot},
		"load with acquire":                 {[]uint32{0x88dffc01}, cannot},
		"comparison with swap of a pair":    {[]uint32{0x48207c82}, cannot},
		"system call":                       {[]uint32{0xd4000001}, cannot},
		"wait for an event":                 {[]uint32{0xd503205f}, cannot},
		"copy of memory":                    {[]uint32{0x1d010440}, cannot},
		"invalid instruction":               {nil, cannot},
		"in a sequence":                     {[]uint32{load, nop, call}, between},
		"in a sequence with a branch":       {[]uint32{load, branch, nop}, between},
		"in a sequence of pairs":            {[]uint32{pairLoad, ret}, between},
		"in the second of two sequences":    {[]uint32{load, store, load, call}, between},
		"after a sequence":                  {[]uint32{load, store, branch, call}, harmless},
		"after a cleared sequence":          {[]uint32{load, clear, call}, harmless},
		"after a comparison with swap":      {[]uint32{0x88e17c02, call}, harmless},
	} {
		t.Run(name, func(t *testing.T) {
			const from = 0x1000
			var b []byte
			for _, x := range c.code {
				b = binary.LittleEndian.AppendUint32(b, x)
			}
			err := checkProbe(b, from, from+uint64(max(len(c.code)-1, 0))*4)
			if (err == nil) != (c.want == harmless) || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func FuzzInstructionsOfARM64(f *testing.F) {
	f.Add(uint32(0xd65f03c0))
	f.Add(uint32(0xa9bf7bfd))
	f.Fuzz(checkARM64)
}

func TestInstructionsOfX86AreDecoded(t *testing.T) {
	for name, c := range map[string]struct {
		code   string
		want   Instruction
		effect Effect
	}{
		"push":             {"\x55", Instruction{Size: 1, Name: "push"}, Effect{Straight: true, Writes: -1, Lowers: 8}},
		"push of r12":      {"\x41\x54", Instruction{Size: 2, Name: "push"}, Effect{Straight: true, Writes: -1, Lowers: 8}},
		"push of a word":   {"\x66\x55", Instruction{Size: 2}, Effect{Straight: true, Writes: -1, Lowers: 8}},
		"endbr64":          {EndBranch, Instruction{Size: 4}, Effect{Straight: true, Writes: -1}},
		"sub of the stack": {"\x48\x83\xec\x28", Instruction{Size: 4}, Effect{Straight: true, Writes: -1, Lowers: 0x28}},
		"mov to rdi":       {"\x48\x89\xc7", Instruction{Size: 3}, Effect{Straight: true, Writes: 7}},
		"mov to the stack": {"\x48\x89\xc4", Instruction{Size: 3}, Effect{Writes: 4}},
		"mov to memory":    {"\x48\x89\x07", Instruction{Size: 3}, Effect{Straight: true, Writes: -1}},
		"jump":             {"\xeb\xfe", Instruction{Size: 2, Name: "jmp", Target: 0x1000}, Effect{Writes: -1}},
		"conditional jump": {"\x0f\x84\x00\x00\x00\x00", Instruction{Size: 6, Name: "jcc", Target: 0x1006}, Effect{Writes: -1}},
		"call":             {"\xe8\x00\x00\x00\x00", Instruction{Size: 5, Name: "call", Target: 0x1005, Call: true}, Effect{Writes: -1}},
		"indirect call":    {"\xff\xd0", Instruction{Size: 2}, Effect{Writes: -1}},
		"with notrack":     {"\x3e\xff\xe0", Instruction{Size: 3}, Effect{Writes: -1}},
		"return":           {"\xc3", Instruction{Size: 1, Returns: true}, Effect{Writes: -1}},
		"return with pop":  {"\xc2\x08\x00", Instruction{Size: 3}, Effect{Writes: -1}},
		"pop":              {"\x41\x5c", Instruction{Size: 2}, Effect{Writes: -1, Raises: 8}},
		"add to the stack": {"\x48\x83\xc4\x28", Instruction{Size: 4}, Effect{Writes: 4, Raises: 0x28}},
		"no-operation":     {"\x90", Instruction{Size: 1, Name: "nop"}, Effect{Straight: true, Writes: -1}},
		"long nop":         {"\x0f\x1f\x44\x00\x00", Instruction{Size: 5}, Effect{Straight: true, Writes: -1}},
	} {
		t.Run(name, func(t *testing.T) {
			c.want.Addr = 0x1000
			got, effect, ok := decodeAMD64([]byte(c.code), 0x1000)
			if !ok || got != c.want || effect != c.effect {
				t.Errorf("got %+v, %+v, %v, want %+v, %+v", got, effect, ok, c.want, c.effect)
			}
		})
	}
}

// checkSkimmed compares a skimmed instruction with the decoder, and reports whether it is known.
func checkSkimmed(t *testing.T, b []byte) bool {
	t.Helper()
	got, known := skimAMD64(b, 0x1000)
	if !known {
		return false
	}
	if want, _, ok := decodeAMD64(b, 0x1000); !ok || got != want {
		t.Fatalf("% x is %+v, want %+v, %v", b, got, want, ok)
	}
	return true
}

func TestSkimmedInstructionsMatchTheDecoder(t *testing.T) {
	known := 0
	for _, prefix := range []string{"", "\x66", "\x48", "\x41", "\x66\x48", "\x66\x0f", "\x0f", "\x44\x0f"} {
		for opcode := range 256 {
			for modrm := range 256 {
				for _, sib := range []byte{0x24, 0x25} {
					b := append([]byte(prefix), byte(opcode), byte(modrm), sib, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88)
					if checkSkimmed(t, b) {
						known++
						// The end of the code truncates the instruction.
						in, _ := skimAMD64(b, 0x1000)
						checkSkimmed(t, b[:in.Size-1])
						checkSkimmed(t, b[:in.Size])
					}
				}
			}
		}
	}
	if known < 300_000 {
		t.Errorf("only %d of the encodings are known", known)
	}
}

func FuzzInstructionsOfX86(f *testing.F) {
	f.Add([]byte("\x48\x89\xc7"))
	f.Add([]byte(EndBranch))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) == 0 {
			return
		}
		b = b[:min(len(b), 16)]
		in, effect, ok := decodeAMD64(b, 0x1000)
		if ok && (in.Size < 1 || in.Size > len(b) || effect.Lowers < 0) {
			t.Errorf("got %+v, %+v of %d bytes", in, effect, len(b))
		}
		checkSkimmed(t, b)
	})
}
