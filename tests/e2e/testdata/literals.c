// SPDX-License-Identifier: Apache-2.0

/* Fires as many arrays as its argument, each with sixteen strings at random offsets of
 * 1 MiB of literals. */

#include <stdlib.h>

#include "crau/macros.h"

#define SIZE (1 << 20)
#define TAIL 1024

static const char literals[SIZE] __attribute__((aligned(4096))) = { [0 ... SIZE - 2] = 'a' };

int main(int argc, char **argv)
{
	struct crau_item items[CRAU_MAX_ITEMS];
	uint64_t random = 88172645463325252;

	if (argc != 2)
		return 2;
	for (unsigned long left = strtoul(argv[1], NULL, 10); left > 0; left--) {
		for (int i = 0; i < CRAU_MAX_ITEMS; i++) {
			/* Marsaglia's xorshift64. */
			random ^= random << 13;
			random ^= random >> 7;
			random ^= random << 17;
			const struct crau_item item = CRAU_STRING(
				literals + random % (SIZE - TAIL),
				literals + (random >> 20) % (SIZE - TAIL));
			items[i] = item;
		}
		crau_fire_data(1, items, CRAU_MAX_ITEMS);
	}
	return 0;
}
