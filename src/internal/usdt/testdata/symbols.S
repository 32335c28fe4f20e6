/* SPDX-License-Identifier: Apache-2.0 */
/* Arguments that are the address of a symbol, as compilers write them for
   position-independent code. The code loads some of the addresses, as compiled
   code does, so that the linker gives these a slot. */
#include "note.inc"

	.data
	.globl variable
	.type variable, @object
	.8byte 0
variable:
	.8byte 0
	.8byte 0
	.equ number, 4711
	.globl number

	.section .tbss, "awT", @nobits
	.globl threads
	.type threads, @object
threads:
	.space 8

	.text
	.globl code
	.type code, @function
code:
	mov variable@GOTPCREL(%rip), %rax
	mov elsewhere@GOTPCREL(%rip), %rax
	mov threads@GOTTPOFF(%rip), %rax
	site variable, "8@variable@GOTPCREL(%rip) -8@variable@GOTPCREL(%rip)"
	site elsewhere, "8@elsewhere@GOTPCREL(%rip)"
	site code, "8@code@GOTPCREL(%rip)"
	site missing, "8@missing@GOTPCREL(%rip)"
	site number, "8@number@GOTPCREL(%rip)"
	site threads, "8@threads@GOTPCREL(%rip)"
	ret
