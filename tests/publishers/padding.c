// SPDX-License-Identifier: Apache-2.0

/* Code that is never executed and moves the code linked after it by 3*PADDING
 * bytes. It contains no nop. */
__asm__(".text\n"
	".rept " PADDING "\n"
	".byte 0x48, 0x89, 0xc0\n" /* mov %rax, %rax */
	".endr\n");
