// SPDX-License-Identifier: Apache-2.0

package usdt

import (
	"debug/elf"
	"fmt"
	"math"
	"strconv"
	"strings"

	"crypto-auditing/src/internal/capture"
)

// ParseArgs parses the argument specification of a site on machine m: the
// specifications SIZE@OPERAND of its arguments, separated by white space. SIZE is
// the width of the value in bytes, negative if the value is signed; OPERAND is an
// assembler operand as the compiler wrote it. The error is a *SpecError, or an
// *UnsupportedError for an unsupported machine.
func ParseArgs(m elf.Machine, spec string) ([]capture.Arg, error) {
	if len(spec) > MaxArgSpec {
		return nil, &SpecError{shorten(spec), fmt.Sprintf("the specification has %d bytes, more than %d", len(spec), MaxArgSpec)}
	}
	var operand func(string, *capture.Arg) error
	switch m {
	case elf.EM_X86_64:
		operand = amd64Operand
	case elf.EM_AARCH64:
		operand = arm64Operand
	default:
		return nil, &UnsupportedError{Machine: m, Class: elf.ELFCLASS64}
	}

	fields, err := splitArgs(spec)
	if err != nil || len(fields) == 0 {
		return nil, err
	}
	args := make([]capture.Arg, len(fields))
	for i, f := range fields {
		if args[i], err = parseArg(f, operand); err != nil {
			return nil, err
		}
	}
	return args, nil
}

// splitArgs splits a specification at white space outside of brackets: arm64
// operands such as "[sp, 16]" contain a blank.
func splitArgs(spec string) ([]string, error) {
	var fields []string
	depth, start := 0, -1
	for i := 0; i < len(spec); i++ {
		switch c := spec[i]; c {
		case ' ', '\t', '\n':
			if depth == 0 && start >= 0 {
				fields = append(fields, spec[start:i])
				start = -1
			}
			continue
		case '[', '(':
			depth++
		case ']', ')':
			if depth--; depth < 0 {
				return nil, &SpecError{shorten(spec), "bracket closed that was not opened"}
			}
		}
		if start < 0 {
			start = i
		}
	}
	if depth != 0 {
		return nil, &SpecError{shorten(spec), "bracket opened and not closed"}
	}
	if start >= 0 {
		fields = append(fields, spec[start:])
	}
	if len(fields) > MaxArgs {
		return nil, &SpecError{shorten(spec), fmt.Sprintf("%d arguments, more than %d", len(fields), MaxArgs)}
	}
	return fields, nil
}

// parseArg parses one argument.
func parseArg(spec string, operand func(string, *capture.Arg) error) (capture.Arg, error) {
	size, op, found := strings.Cut(spec, "@")
	if !found {
		return capture.Arg{}, &SpecError{shorten(spec), "no size before an @"}
	}
	var a capture.Arg
	switch size {
	case "1", "2", "4", "8":
		a.Size = int8(size[0] - '0')
	case "-1", "-2", "-4", "-8":
		a.Size, a.Signed = int8(size[1]-'0'), true
	default:
		if strings.HasSuffix(size, "f") {
			return capture.Arg{}, &SpecError{shorten(spec), "floating-point values are not supported"}
		}
		return capture.Arg{}, &SpecError{shorten(spec), "the size is not 1, 2, 4 or 8, or the negative of one"}
	}
	if op == "" {
		return capture.Arg{}, &SpecError{shorten(spec), "no operand after the @"}
	}
	if err := operand(op, &a); err != nil {
		return capture.Arg{}, &SpecError{shorten(spec), err.Error()}
	}
	return a, nil
}

// setConst sets a to the constant v, truncated to a's size and extended by its
// sign.
func setConst(a *capture.Arg, v uint64) {
	unused := 64 - 8*uint(a.Size)
	a.Kind = capture.ArgConst
	if a.Signed {
		a.Const = int64(v<<unused) >> unused
	} else {
		a.Const = int64(v << unused >> unused)
	}
}

// setReg sets a to the value of a register. The size before the @ applies, whatever
// part of the register the operand names: compilers name parts that are longer or
// shorter than the value.
func setReg(a *capture.Arg, r capture.Register, shift uint8) {
	a.Kind, a.Reg, a.Shift = capture.ArgReg, r, shift
}

// parseConst parses an integer that fits a machine word, signed or unsigned.
func parseConst(s string) (uint64, error) {
	if v, ok := parseUint(s); ok {
		return v, nil
	}
	v, err := parseSum(s)
	return uint64(v), err
}

// parseSum parses an integer as compilers write it in operands: terms with signs,
// such as "-8", "0x10" or "-8+16".
func parseSum(s string) (int64, error) {
	var sum int64
	rest := s
	for first := true; first || rest != ""; first = false {
		negative := false
		switch {
		case rest != "" && (rest[0] == '-' || rest[0] == '+'):
			negative, rest = rest[0] == '-', rest[1:]
		case !first:
			return 0, fmt.Errorf("%q is not a number", s)
		}
		end := strings.IndexAny(rest, "+-")
		if end < 0 {
			end = len(rest)
		}
		v, ok := parseUint(rest[:end])
		if !ok {
			return 0, fmt.Errorf("%q is not a number", s)
		}
		rest = rest[end:]

		term := int64(v)
		if negative {
			term = -term
		}
		// Only the lowest integer has a magnitude above that of the highest.
		if v > math.MaxInt64 && (!negative || v != 1<<63) {
			return 0, fmt.Errorf("%q is out of range", s)
		}
		if (term > 0 && sum > math.MaxInt64-term) || (term < 0 && sum < math.MinInt64-term) {
			return 0, fmt.Errorf("%q is out of range", s)
		}
		sum += term
	}
	return sum, nil
}

// parseUint parses decimal digits, or hexadecimal digits after 0x. Unlike strconv
// with base 0 it accepts no underscores, signs or octal numbers.
func parseUint(s string) (uint64, bool) {
	base := 10
	if len(s) > 2 && s[0] == '0' && (s[1] == 'x' || s[1] == 'X') {
		s, base = s[2:], 16
	} else if len(s) > 1 && s[0] == '0' {
		return 0, false
	}
	v, err := strconv.ParseUint(s, base, 64)
	return v, err == nil
}

// parseOffset parses the offset of a memory operand. Machine instructions encode at
// most 32 bits.
func parseOffset(s string) (int64, error) {
	v, err := parseSum(s)
	if err != nil {
		return 0, err
	}
	if v < math.MinInt32 || v > math.MaxInt32 {
		return 0, fmt.Errorf("offset %d is out of range", v)
	}
	return v, nil
}

// isSymbol reports whether s begins like a symbol name.
func isSymbol(s string) bool {
	if s == "" {
		return false
	}
	c := s[0]
	return c == '_' || c == '.' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// isSymbolName reports whether all of s can be a symbol name.
func isSymbolName(s string) bool {
	return isSymbol(s) && !strings.ContainsFunc(s, func(c rune) bool {
		return c != '$' && (c < '0' || c > '9') && !isSymbol(string(c))
	})
}

// shorten truncates a text for an error message.
func shorten(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return s[:most] + "..."
}
