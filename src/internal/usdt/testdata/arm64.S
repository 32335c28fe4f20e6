/* SPDX-License-Identifier: Apache-2.0 */
/* One site for every form of argument of arm64, and invalid notes between
   them. */
#include "note.inc"

	.section .rodata
	.globl texts
texts:	.asciz "tls::handshake"

	.data
counter:
	.2byte 0

	.text
	site new_context, "8@x0 -8@-1"
	site registers, "8@x30 -4@w1 4@x2 -2@w3 1@w29 8@sp 8@xzr"
	site constants, "8@5 8@\#5 -8@-5 4@-1 -4@4294967295 1@0x1ff"
	site memory, "8@[sp, 16] 8@[x1] 8@[sp, \#16] -8@[x29, -8] 4@[x0, x1] 8@[x0, x1, lsl 3] 8@[x0,x1,lsl \#3]"
	site none, ""

	site widened, "8@[x0, w1, sxtw 3]"
	site vector, "8@d0"
	site symbolic, "8@[x0, \#:lo12:foo]"
	site changing, "8@[x0], 8"

9:	mov x0, x1
	note 9b, crypto_auditing, instruction, "8@x0"
9:	nop
	note 9b+2, crypto_auditing, unaligned, "8@x0"
	note 9b, crypto_auditing, counted, "8@x0", counter
	ret
