/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Functions that have live data below the stack pointer, or as close to a site as
 * possible. Prints "ready", waits for a byte, and prints how many of 100,000 rounds
 * had a wrong result: for two functions with the header's site, and one with an
 * inline five-byte nop.
 */

#include <stdio.h>

#include "crau/macros.h"

#define ROUNDS 100000
#define WORDS 12

/* The words are volatile so that no store or load is optimised away. */
#define FILL(words, seed)                                                   \
	for (int i = 0; i < WORDS; i++)                                     \
		words[i] = (seed) * 2654435761UL + (unsigned long)i
#define WRONG(words, seed, wrong)                                           \
	for (int i = 0; i < WORDS; i++)                                     \
		wrong |= words[i] != (seed) * 2654435761UL + (unsigned long)i

__attribute__((noinline)) static int header(unsigned long seed)
{
	volatile unsigned long words[WORDS];
	int wrong = 0;

	FILL(words, seed);
	CRAU_WORD_DATA(seed, "redzone::word", seed);
	WRONG(words, seed, wrong);
	return wrong;
}

/* A leaf function except for the tail call. */
__attribute__((noinline)) static void header_tail(unsigned long seed)
{
	crau_fire_word_data(seed, "redzone::word", seed);
}

__attribute__((noinline)) static int header_caller(unsigned long seed)
{
	volatile unsigned long words[WORDS];
	int wrong = 0;

	FILL(words, seed);
	header_tail(seed);
	WRONG(words, seed, wrong);
	return wrong;
}

__attribute__((noinline)) static int inlined(unsigned long seed)
{
	volatile unsigned long words[WORDS];
	int wrong = 0;

	FILL(words, seed);
	__asm__ __volatile__("990: nop\n"
			     ".byte 0x0f, 0x1f, 0x44, 0, 0\n"
			     CRAU_NOTE_(inlined, "8@%0") : : "r"(seed));
	WRONG(words, seed, wrong);
	return wrong;
}

int main(void)
{
	int wrong[3] = { 0, 0, 0 };

	puts("ready");
	fflush(stdout);
	getchar();
	for (unsigned long i = 0; i < ROUNDS; i++) {
		wrong[0] += header(i);
		wrong[1] += header_caller(i);
		wrong[2] += inlined(i);
	}
	printf("header %d caller %d inlined %d\n", wrong[0], wrong[1], wrong[2]);
	return 0;
}
