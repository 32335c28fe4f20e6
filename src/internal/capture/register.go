// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"debug/elf"
	"fmt"
)

// Register is a general-purpose register of one of the supported machines.
type Register uint8

// The registers, grouped by machine. The arm64 registers x0 to x30 are in order.
const (
	// NoRegister stands for no register.
	NoRegister Register = iota

	RAX
	RBX
	RCX
	RDX
	RSI
	RDI
	RBP
	RSP
	R8
	R9
	R10
	R11
	R12
	R13
	R14
	R15

	X0
	X1
	X2
	X3
	X4
	X5
	X6
	X7
	X8
	X9
	X10
	X11
	X12
	X13
	X14
	X15
	X16
	X17
	X18
	X19
	X20
	X21
	X22
	X23
	X24
	X25
	X26
	X27
	X28
	X29
	X30
	// SP is the stack pointer of arm64.
	SP
)

// amd64Register describes an x86-64 register: its 64-bit name and its byte offset in
// struct pt_regs.
type amd64Register struct {
	name   string
	offset uint16
}

// amd64 returns the description of r, false if r is not an x86-64 register.
func (r Register) amd64() (amd64Register, bool) {
	switch r {
	case R15:
		return amd64Register{"r15", 0}, true
	case R14:
		return amd64Register{"r14", 8}, true
	case R13:
		return amd64Register{"r13", 16}, true
	case R12:
		return amd64Register{"r12", 24}, true
	case RBP:
		return amd64Register{"rbp", 32}, true
	case RBX:
		return amd64Register{"rbx", 40}, true
	case R11:
		return amd64Register{"r11", 48}, true
	case R10:
		return amd64Register{"r10", 56}, true
	case R9:
		return amd64Register{"r9", 64}, true
	case R8:
		return amd64Register{"r8", 72}, true
	case RAX:
		return amd64Register{"rax", 80}, true
	case RCX:
		return amd64Register{"rcx", 88}, true
	case RDX:
		return amd64Register{"rdx", 96}, true
	case RSI:
		return amd64Register{"rsi", 104}, true
	case RDI:
		return amd64Register{"rdi", 112}, true
	case RSP:
		return amd64Register{"rsp", 152}, true
	}
	return amd64Register{}, false
}

// String returns the assembler's name of the full register.
func (r Register) String() string {
	if a, ok := r.amd64(); ok {
		return a.name
	}
	switch {
	case r >= X0 && r <= X30:
		return fmt.Sprintf("x%d", r-X0)
	case r == SP:
		return "sp"
	}
	return "none"
}

// PtRegsOffset returns the byte offset of the register in the structure that a uprobe
// program receives for a process of machine m: struct pt_regs on x86-64, struct
// user_pt_regs on arm64. Each register there has 8 bytes.
func (r Register) PtRegsOffset(m elf.Machine) (uint16, error) {
	switch m {
	case elf.EM_X86_64:
		if a, ok := r.amd64(); ok {
			return a.offset, nil
		}
	case elf.EM_AARCH64:
		if r >= X0 && r <= SP {
			// regs[31], then sp.
			return uint16(r-X0) * 8, nil
		}
	}
	return 0, fmt.Errorf("cannot find register %s in the registers of %s", r, m)
}
