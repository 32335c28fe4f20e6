// SPDX-License-Identifier: Apache-2.0

package capture

import "strconv"

// ArgKind is the kind of an argument's location.
type ArgKind uint8

// The kinds of an Arg.
const (
	// ArgConst is the value Const itself.
	ArgConst ArgKind = iota
	// ArgReg is the register Reg, shifted right by Shift bits.
	ArgReg
	// ArgMem is the memory at Reg + Off.
	ArgMem
	// ArgMemIndexed is the memory at Reg + Index*Scale + Off. Reg may be NoRegister,
	// which counts as zero.
	ArgMemIndexed
	// ArgSymbol is the address of the symbol Symbol, as the compiler would load it
	// from the global offset table. It does not occur in a plan: the source replaces
	// it by ArgImageMem or ArgImageAddr.
	ArgSymbol
	// ArgImageMem is the memory at the link-time address Off of the file.
	ArgImageMem
	// ArgImageAddr is the run-time address that corresponds to the link-time address
	// Off of the file.
	ArgImageAddr
)

// String returns the kind as a word for display and JSON.
func (k ArgKind) String() string {
	switch k {
	case ArgConst:
		return "constant"
	case ArgReg:
		return "register"
	case ArgMem:
		return "memory"
	case ArgMemIndexed:
		return "indexed memory"
	case ArgSymbol:
		return "symbol"
	case ArgImageMem:
		return "memory of the image"
	case ArgImageAddr:
		return "address in the image"
	}
	return "unknown"
}

// Arg is the location of one argument of a site. The value has Size bytes, the low
// ones of a register, and is sign-extended or zero-extended to a word depending on
// Signed.
type Arg struct {
	Kind ArgKind
	// Size is the width of the value in bytes: 1, 2, 4 or 8.
	Size int8
	// Signed reports whether the value is sign-extended.
	Signed bool
	// Const is the value of an ArgConst, already extended.
	Const int64
	// Reg is the register of an ArgReg, and the base register of memory.
	Reg Register
	// Index is the index register of an ArgMemIndexed.
	Index Register
	// Scale multiplies Index: 1, 2, 4 or 8, or 16 on arm64.
	Scale uint8
	// Shift is 8 for the second byte of a register (%ah), otherwise 0.
	Shift uint8
	// Off is added to the memory address.
	Off int64
	// Symbol is the name of an ArgSymbol, otherwise empty.
	Symbol string
}

// String returns the argument in the same form for all machines: the type, then the
// location, such as "s32 rsi", "u64 [rbp-16]", "u8 rax>>8", "u64 [rax+rbx*8]",
// "s64 -1", "u64 [image+16]" or "u64 image+16".
func (a *Arg) String() string {
	b := make([]byte, 0, 32)
	if a.Signed {
		b = append(b, 's')
	} else {
		b = append(b, 'u')
	}
	b = strconv.AppendInt(b, int64(a.Size)*8, 10)
	b = append(b, ' ')
	switch a.Kind {
	case ArgConst:
		if a.Signed {
			return string(strconv.AppendInt(b, a.Const, 10))
		}
		return string(strconv.AppendUint(b, uint64(a.Const), 10))
	case ArgReg:
		b = append(b, a.Reg.String()...)
		if a.Shift != 0 {
			b = append(b, ">>"...)
			b = strconv.AppendUint(b, uint64(a.Shift), 10)
		}
		return string(b)
	case ArgSymbol:
		return string(append(append(b, '&'), a.Symbol...))
	case ArgImageAddr:
		return string(strconv.AppendUint(append(b, "image+"...), uint64(a.Off), 10))
	case ArgImageMem:
		b = strconv.AppendUint(append(b, "[image+"...), uint64(a.Off), 10)
		return string(append(b, ']'))
	}

	b = append(b, '[')
	if a.Reg != NoRegister {
		b = append(b, a.Reg.String()...)
	}
	if a.Kind == ArgMemIndexed {
		if a.Reg != NoRegister {
			b = append(b, '+')
		}
		b = append(b, a.Index.String()...)
		b = append(b, '*')
		b = strconv.AppendUint(b, uint64(a.Scale), 10)
	}
	if a.Off > 0 {
		b = append(b, '+')
	}
	if a.Off != 0 {
		b = strconv.AppendInt(b, a.Off, 10)
	}
	return string(append(b, ']'))
}
