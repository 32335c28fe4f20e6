/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A process that fires and then forks children that fire. Prints "ready", waits
 * for a byte, and prints the exit statuses of two children: one fires through the
 * header, the other through an inline five-byte nop.
 */

#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "crau/macros.h"

#define ROUNDS 100

__attribute__((noinline)) static void header(void)
{
	for (unsigned long i = 0; i < ROUNDS; i++)
		CRAU_WORD_DATA(i, "forked::word", i);
}

__attribute__((noinline)) static void inlined(void)
{
	for (unsigned long i = 0; i < ROUNDS; i++)
		__asm__ __volatile__("990: nop\n"
				     ".byte 0x0f, 0x1f, 0x44, 0, 0\n"
				     CRAU_NOTE_(inlined, "8@%0") : : "r"(i));
}

static int status_of(void (*fire)(void))
{
	int status = -1;
	pid_t child = fork();

	if (child == 0) {
		fire();
		_exit(0);
	}
	waitpid(child, &status, 0);
	return status;
}

int main(void)
{
	puts("ready");
	fflush(stdout);
	getchar();
	header();
	inlined();
	int of_header = status_of(header);
	int of_inlined = status_of(inlined);
	printf("header %d inlined %d\n", of_header, of_inlined);
	return 0;
}
