/* SPDX-License-Identifier: Apache-2.0 */
/* A file moved by 0x7000 after its notes were written: the addresses in them, of
   the sites, the semaphore and .stapsdt.base, are too low by that much. */
#define MOVED 0x7000
#include "note.inc"

	.data
	.globl counter
counter:
	.2byte 0

	.text
	.globl code
code:
	nop
	note code, crypto_auditing, word_data, "8@%rax 8@%rbx 8@%rcx", counter-MOVED
	site string_data, "8@%rax 8@%rbx 8@%rcx"
	ret
