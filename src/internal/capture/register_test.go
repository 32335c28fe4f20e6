// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"debug/elf"
	"testing"
)

// The offsets are from struct pt_regs of x86-64 and struct user_pt_regs of arm64.
func TestRegisterOffsetsMatchTheKernel(t *testing.T) {
	for name, c := range map[string]struct {
		r    Register
		m    elf.Machine
		want uint16
	}{
		"r15": {R15, elf.EM_X86_64, 0}, "r14": {R14, elf.EM_X86_64, 8}, "r13": {R13, elf.EM_X86_64, 16},
		"r12": {R12, elf.EM_X86_64, 24}, "rbp": {RBP, elf.EM_X86_64, 32}, "rbx": {RBX, elf.EM_X86_64, 40},
		"r11": {R11, elf.EM_X86_64, 48}, "r10": {R10, elf.EM_X86_64, 56}, "r9": {R9, elf.EM_X86_64, 64},
		"r8": {R8, elf.EM_X86_64, 72}, "rax": {RAX, elf.EM_X86_64, 80}, "rcx": {RCX, elf.EM_X86_64, 88},
		"rdx": {RDX, elf.EM_X86_64, 96}, "rsi": {RSI, elf.EM_X86_64, 104}, "rdi": {RDI, elf.EM_X86_64, 112},
		"rsp": {RSP, elf.EM_X86_64, 152},
		"x0":  {X0, elf.EM_AARCH64, 0}, "x1": {X1, elf.EM_AARCH64, 8}, "x29": {X29, elf.EM_AARCH64, 232},
		"x30": {X30, elf.EM_AARCH64, 240}, "sp": {SP, elf.EM_AARCH64, 248},
	} {
		got, err := c.r.PtRegsOffset(c.m)
		if err != nil || got != c.want {
			t.Errorf("%s is at %d (%v), want %d", name, got, err, c.want)
		}
		if c.r.String() != name {
			t.Errorf("%s has the name %s", name, c.r)
		}
	}
}

func TestRegistersOfAnotherMachineAreAnError(t *testing.T) {
	for r, m := range map[Register]elf.Machine{
		RAX: elf.EM_AARCH64, X0: elf.EM_X86_64, SP: elf.EM_X86_64, R8: elf.EM_PPC64,
		NoRegister: elf.EM_X86_64, SP + 1: elf.EM_AARCH64,
	} {
		if off, err := r.PtRegsOffset(m); err == nil {
			t.Errorf("%s of %s is at %d, want an error", r, m, off)
		}
	}
}
