// SPDX-License-Identifier: Apache-2.0

package usdt

import (
	"errors"
	"fmt"
	"strings"

	"crypto-auditing/src/internal/capture"
)

var (
	errSymbolic = errors.New("an address relative to a symbol is not supported: copy the value to a local variable before the probe")
	errPCRel    = errors.New("an address relative to the instruction pointer is not supported: copy the value to a local variable before the probe")
)

// amd64Operand parses an x86-64 operand in AT&T syntax: a constant $N, a register
// %R, memory OFFSET(%BASE,%INDEX,SCALE), or a slot of the global offset table
// SYMBOL@GOTPCREL(%rip).
func amd64Operand(op string, a *capture.Arg) error {
	switch {
	case op[0] == '$':
		if isSymbol(op[1:]) {
			return errSymbolic
		}
		v, err := parseConst(op[1:])
		if err != nil {
			return err
		}
		setConst(a, v)
		return nil
	case op[0] == '*':
		return errors.New("indirect operands are not supported")
	case op[0] == '%' && strings.Contains(op, ":"):
		return errors.New("memory relative to a segment register (thread-local) is not supported: copy the value to a local variable before the probe")
	case op[0] == '%':
		r, _, shift, err := amd64RegisterNamed(op)
		if err != nil {
			return err
		}
		if shift != 0 && a.Size != 1 {
			return fmt.Errorf("%s holds one byte", op)
		}
		setReg(a, r, shift)
		return nil
	case strings.HasSuffix(op, ")"):
		return amd64Memory(op, a)
	case isSymbol(op):
		if isIntel(op) {
			return errors.New("the Intel syntax is not supported: build without -masm=intel")
		}
		return errSymbolic
	}
	return errors.New("memory at an absolute address is not supported")
}

// isIntel reports whether an operand without AT&T prefixes is in Intel syntax: a
// plain register, or memory such as "QWORD PTR [rbp-8]", of which splitting at
// blanks leaves the first word.
func isIntel(op string) bool {
	switch op {
	case "BYTE", "WORD", "DWORD", "QWORD":
		return true
	}
	_, _, _, err := amd64RegisterNamed("%" + op)
	return err == nil || strings.Contains(op, "[")
}

// amd64Memory parses a memory operand; op ends with a closing bracket.
func amd64Memory(op string, a *capture.Arg) error {
	offset, inner, found := strings.Cut(op[:len(op)-1], "(")
	if !found || strings.ContainsAny(inner, "()") {
		return errors.New("brackets do not match")
	}
	if symbol, isSlot := strings.CutSuffix(offset, "@GOTPCREL"); isSlot && inner == "%rip" && isSymbolName(symbol) {
		a.Kind, a.Symbol = capture.ArgSymbol, symbol
		return nil
	}
	parts := strings.Split(inner, ",")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	if len(parts) > 3 {
		return errors.New("more than a base, an index and a scale")
	}
	if strings.HasPrefix(parts[0], "%rip") || strings.HasPrefix(parts[0], "%eip") {
		return errPCRel
	}
	if isSymbol(offset) {
		return errSymbolic
	}

	if offset != "" {
		var err error
		if a.Off, err = parseOffset(offset); err != nil {
			return err
		}
	}
	if parts[0] != "" {
		var err error
		if a.Reg, err = amd64AddressRegister(parts[0]); err != nil {
			return err
		}
	}
	if len(parts) == 1 {
		if a.Reg == capture.NoRegister {
			return errors.New("no base register")
		}
		a.Kind = capture.ArgMem
		return nil
	}

	a.Kind, a.Scale = capture.ArgMemIndexed, 1
	var err error
	if a.Index, err = amd64AddressRegister(parts[1]); err != nil {
		return err
	}
	if a.Index == capture.RSP {
		return errors.New("%rsp cannot be an index")
	}
	if len(parts) == 3 {
		switch parts[2] {
		case "1", "2", "4", "8":
			a.Scale = parts[2][0] - '0'
		default:
			return fmt.Errorf("scale %q is not 1, 2, 4 or 8", parts[2])
		}
	}
	return nil
}

// amd64AddressRegister parses the name of a register that can be part of an
// address.
func amd64AddressRegister(name string) (capture.Register, error) {
	r, width, _, err := amd64RegisterNamed(name)
	if err != nil {
		return capture.NoRegister, err
	}
	if width != 8 {
		return capture.NoRegister, fmt.Errorf("%s in an address has no 64 bits", name)
	}
	return r, nil
}

// amd64RegisterNamed returns the register that name refers to in full or in part,
// the width of the named part in bytes, and its shift from the low end of the
// register in bits.
func amd64RegisterNamed(name string) (r capture.Register, width int8, shift uint8, err error) {
	n, ok := strings.CutPrefix(name, "%")
	if !ok {
		return capture.NoRegister, 0, 0, fmt.Errorf("%q is not a register", name)
	}

	// %r8 to %r15, with d, w or b for their low parts.
	if len(n) >= 2 && n[0] == 'r' && n[1] >= '1' && n[1] <= '9' {
		num, width := n[1:], int8(8)
		switch n[len(n)-1] {
		case 'd':
			num, width = n[1:len(n)-1], 4
		case 'w':
			num, width = n[1:len(n)-1], 2
		case 'b', 'l':
			num, width = n[1:len(n)-1], 1
		}
		if i, ok := parseUint(num); ok && i >= 8 && i <= 15 {
			return capture.R8 + capture.Register(i-8), width, 0, nil
		}
		return capture.NoRegister, 0, 0, fmt.Errorf("%s is not a register of x86-64", name)
	}

	// The original eight: rax, eax, ax, al, ah.
	base := n
	switch {
	case len(n) == 3 && n[0] == 'r':
		base, width = n[1:], 8
	case len(n) == 3 && n[0] == 'e':
		base, width = n[1:], 4
	case len(n) == 3 && n[2] == 'l':
		// sil, dil, bpl, spl
		if r := amd64Old(n[:2]); r == capture.RSI || r == capture.RDI || r == capture.RBP || r == capture.RSP {
			return r, 1, 0, nil
		}
	case len(n) == 2 && n[1] == 'l':
		base, width = n[:1]+"x", 1
	case len(n) == 2 && n[1] == 'h':
		base, width, shift = n[:1]+"x", 1, 8
	case len(n) == 2:
		width = 2
	}
	if r := amd64Old(base); r != capture.NoRegister && width != 0 {
		return r, width, shift, nil
	}
	for _, p := range []string{"xmm", "ymm", "zmm", "mm", "st"} {
		if strings.HasPrefix(n, p) {
			return capture.NoRegister, 0, 0, fmt.Errorf("floating-point and vector registers such as %s are not supported", name)
		}
	}
	return capture.NoRegister, 0, 0, fmt.Errorf("%s is not a register of x86-64", name)
}

// amd64Old returns the register whose low 16 bits are named name.
func amd64Old(name string) capture.Register {
	switch name {
	case "ax":
		return capture.RAX
	case "bx":
		return capture.RBX
	case "cx":
		return capture.RCX
	case "dx":
		return capture.RDX
	case "si":
		return capture.RSI
	case "di":
		return capture.RDI
	case "bp":
		return capture.RBP
	case "sp":
		return capture.RSP
	}
	return capture.NoRegister
}
