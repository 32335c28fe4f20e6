// SPDX-License-Identifier: Apache-2.0

package symbolic

import "golang.org/x/arch/x86/x86asm"

// form is the way in which an instruction uses a condition.
type form uint8

const (
	formJump form = 1 + iota
	formSet
	formMove
)

// conditionOf returns how an instruction uses which relation of the compared values; zero
// if it does not depend on the flags.
func conditionOf(op x86asm.Op) (form, relation) {
	switch op {
	case x86asm.JE:
		return formJump, Equal
	case x86asm.JNE:
		return formJump, NotEqual
	case x86asm.JB:
		return formJump, below
	case x86asm.JAE:
		return formJump, notBelow
	case x86asm.JA:
		return formJump, above
	case x86asm.JBE:
		return formJump, notAbove
	case x86asm.JL:
		return formJump, less
	case x86asm.JGE:
		return formJump, notLess
	case x86asm.JG:
		return formJump, greater
	case x86asm.JLE:
		return formJump, notGreater
	case x86asm.JS:
		return formJump, negative
	case x86asm.JNS:
		return formJump, notNegative
	case x86asm.JO:
		return formJump, overflow
	case x86asm.JNO:
		return formJump, notOverflow
	case x86asm.JP:
		return formJump, parity
	case x86asm.JNP:
		return formJump, notParity
	case x86asm.SETE:
		return formSet, Equal
	case x86asm.SETNE:
		return formSet, NotEqual
	case x86asm.SETB:
		return formSet, below
	case x86asm.SETAE:
		return formSet, notBelow
	case x86asm.SETA:
		return formSet, above
	case x86asm.SETBE:
		return formSet, notAbove
	case x86asm.SETL:
		return formSet, less
	case x86asm.SETGE:
		return formSet, notLess
	case x86asm.SETG:
		return formSet, greater
	case x86asm.SETLE:
		return formSet, notGreater
	case x86asm.SETS:
		return formSet, negative
	case x86asm.SETNS:
		return formSet, notNegative
	case x86asm.CMOVE:
		return formMove, Equal
	case x86asm.CMOVNE:
		return formMove, NotEqual
	case x86asm.CMOVB:
		return formMove, below
	case x86asm.CMOVAE:
		return formMove, notBelow
	case x86asm.CMOVA:
		return formMove, above
	case x86asm.CMOVBE:
		return formMove, notAbove
	case x86asm.CMOVL:
		return formMove, less
	case x86asm.CMOVGE:
		return formMove, notLess
	case x86asm.CMOVG:
		return formMove, greater
	case x86asm.CMOVLE:
		return formMove, notGreater
	case x86asm.CMOVS:
		return formMove, negative
	case x86asm.CMOVNS:
		return formMove, notNegative
	}
	return 0, 0
}
