/* SPDX-License-Identifier: Apache-2.0 */
/* One site for every form of argument of x86-64, one for every kind of nop, and
   invalid notes between them. */
#include "note.inc"

	.section .rodata
	.globl texts
texts:	.asciz "tls::handshake"
	.asciz ""
	.ascii "not ended in this segment"

	.data
	.globl counter, changing
counter:
	.2byte 0
changing:
	.asciz "may have changed"

	.text
	.globl code
code:
	site new_context, "8@%rax -8@$-1"
	site word_data, "8@%rbp 8@$140737488355328 -8@-16(%rbp)"
	site registers, "8@%r8 4@%r9d 2@%r10w 1@%r15b -4@%esi -2@%di 1@%al 1@%ah -1@%sil 8@%rsp"
	site constants, "8@$2 8@$-5 -8@$-5 4@$-1 -4@$4294967295 1@$0x1ff -1@$255 8@$18446744073709551615"
	site memory, "8@(%rax) -8@-16(%rbp) 8@16(%rax,%rbx,8) 8@(,%rbx,8) 4@8(%rsp,%r12) -8@8+16(%rsp) 8@0x20(%rbx)"
	site none, ""

	/* Invalid notes. */
	site symbolic, "8@foo(%rip)"
	site thread_local, "8@%fs:16"
	site vector, "8f@%xmm0"
	note 0, crypto_auditing, discarded, "8@%rax"
	note counter, crypto_auditing, not_code, "8@%rax"
	note code, crypto_auditing, constant_semaphore, "8@%rax", code

	/* Kinds of instructions. */
9:	.byte 0x90, 0x0f, 0x1f, 0x44, 0x00, 0x00
	note 9b, crypto_auditing, one_plus_five, "8@%rax"
9:	.byte 0x0f, 0x1f, 0x44, 0x00, 0x00
	note 9b, crypto_auditing, five, "-8@-8(%rsp)"
9:	.byte 0x90, 0x66, 0x2e, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0
	note 9b, crypto_auditing, one_plus_ten, "8@%rax"
9:	.byte 0x66, 0x2e, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0
	note 9b, crypto_auditing, ten, "8@%rax"
9:	mov %rdi, %rax
	note 9b, crypto_auditing, instruction, "8@%rax"

	/* A semaphore, other providers, a note of another owner. */
9:	nop
	note 9b, crypto_auditing, counted, "8@%rdi", counter
	site drafted, "8@%rdi", audit
	site foreign, "8@%rdi", libother
	.pushsection .note.stapsdt, "", "note"
	.balign 4
	.4byte 4, 4, 1
	.asciz "abc"
	.4byte 7
	.popsection
	site last, "8@%rdi"
	ret
