// SPDX-License-Identifier: Apache-2.0

package usdt

import (
	"errors"
	"fmt"
	"strings"

	"crypto-auditing/src/internal/capture"
)

// arm64Operand parses an arm64 operand: a constant N or #N, a register, or memory
// [BASE], [BASE, OFFSET] or [BASE, INDEX, lsl N].
func arm64Operand(op string, a *capture.Arg) error {
	switch {
	case op[0] == '[':
		return arm64Memory(op, a)
	case op[0] == '#' || op[0] == '-' || op[0] == '+' || op[0] >= '0' && op[0] <= '9':
		n := strings.TrimPrefix(op, "#")
		if isSymbol(n) || strings.HasPrefix(n, ":") {
			return errSymbolic
		}
		v, err := parseConst(n)
		if err != nil {
			return err
		}
		setConst(a, v)
		return nil
	case op == "xzr" || op == "wzr":
		setConst(a, 0)
		return nil
	}
	r, _, err := arm64RegisterNamed(op)
	if err != nil {
		return err
	}
	setReg(a, r, 0)
	return nil
}

// arm64Memory parses a memory operand; op begins with an opening bracket.
func arm64Memory(op string, a *capture.Arg) error {
	inner, found := strings.CutSuffix(op[1:], "]")
	if !found {
		return errors.New("memory operands that change their base register are not supported")
	}
	if strings.ContainsAny(inner, "[]") {
		return errors.New("brackets do not match")
	}
	parts := strings.Split(inner, ",")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	if len(parts) > 3 {
		return errors.New("more than a base, an index and a shift")
	}
	r, width, err := arm64RegisterNamed(parts[0])
	if err != nil {
		return err
	}
	if width != 8 {
		return fmt.Errorf("base %s has no 64 bits", parts[0])
	}
	a.Kind, a.Reg = capture.ArgMem, r
	if len(parts) == 1 {
		return nil
	}

	second := strings.TrimPrefix(parts[1], "#")
	if second == "" {
		return errors.New("nothing after the comma")
	}
	if strings.HasPrefix(second, ":") {
		return errSymbolic
	}
	if !isSymbol(second) {
		if len(parts) == 3 {
			return errors.New("an offset cannot be shifted")
		}
		a.Off, err = parseOffset(second)
		return err
	}
	return arm64Index(parts[1:], a)
}

// arm64Index parses the index register of a memory operand and its shift.
func arm64Index(parts []string, a *capture.Arg) error {
	r, width, err := arm64RegisterNamed(parts[0])
	if err != nil {
		return err
	}
	if r == capture.SP {
		return errors.New("sp cannot be an index")
	}
	shift, extend := "0", ""
	if len(parts) == 2 {
		f := strings.Fields(parts[1])
		if len(f) > 2 || len(f) == 0 {
			return fmt.Errorf("%q is not a shift", parts[1])
		}
		extend = f[0]
		if len(f) == 2 {
			shift = strings.TrimPrefix(f[1], "#")
		}
	}
	if width != 8 || extend == "uxtw" || extend == "sxtw" || extend == "sxtx" {
		return fmt.Errorf("an index that is widened (%s) is not supported: copy the value to a local variable before the probe", strings.Join(parts, ", "))
	}
	if extend != "" && extend != "lsl" && extend != "uxtx" {
		return fmt.Errorf("%q is not a shift", parts[1])
	}
	n, ok := parseUint(shift)
	if !ok || n > 4 {
		return fmt.Errorf("shift %q is not 0 to 4", shift)
	}
	a.Kind, a.Index, a.Scale = capture.ArgMemIndexed, r, 1<<n
	return nil
}

// arm64RegisterNamed returns the register that name refers to, and the width of the
// named low part in bytes.
func arm64RegisterNamed(name string) (r capture.Register, width int8, err error) {
	switch name {
	case "sp":
		return capture.SP, 8, nil
	case "wsp":
		return capture.SP, 4, nil
	case "fp":
		return capture.X29, 8, nil
	case "lr":
		return capture.X30, 8, nil
	case "":
		return capture.NoRegister, 0, errors.New("no register")
	}
	if i, ok := parseUint(name[1:]); ok && len(name) <= 3 && i <= 31 {
		switch name[0] {
		case 'x', 'w':
			if i > 30 {
				break
			}
			width = 8
			if name[0] == 'w' {
				width = 4
			}
			return capture.X0 + capture.Register(i), width, nil
		case 'v', 'q', 'd', 's', 'h', 'b':
			return capture.NoRegister, 0, fmt.Errorf("floating-point and vector registers such as %s are not supported", name)
		}
	}
	if isSymbol(name) {
		return capture.NoRegister, 0, fmt.Errorf("%q is not a register of aarch64, and symbols are not supported: copy the value to a local variable before the probe", name)
	}
	return capture.NoRegister, 0, fmt.Errorf("%q is not a register of aarch64", name)
}
