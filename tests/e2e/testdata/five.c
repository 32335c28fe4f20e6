// SPDX-License-Identifier: Apache-2.0

/* Fires a probe on a five-byte nop and one of the header, forks a child that does the
 * same, and fails if the child does not survive. */

#include <sys/wait.h>
#include <unistd.h>

#include "crau/macros.h"

__attribute__((noinline))
static void fire(void)
{
	static const char key[] = "five::word";

	__asm__ __volatile__("990: .byte 0x0f, 0x1f, 0x44, 0, 0\n"
			     CRAU_NOTE_(word_data, "8@%0 8@%1 8@%2")
			     : : "r"(1UL), "r"(key), "r"(5UL) : "memory");
	crau_fire_string_data(1, "five::string", "through a one-byte no-operation");
}

int main(void)
{
	int status = -1;

	fire();
	pid_t child = fork();
	if (child == 0) {
		fire();
		_exit(0);
	}
	if (waitpid(child, &status, 0) != child || status != 0)
		return 1;
	return 0;
}
