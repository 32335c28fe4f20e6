// SPDX-License-Identifier: Apache-2.0

/* Fires one array with the number of elements in its argument, all of them unreadable. */

#include <stdlib.h>

#include "crau/macros.h"

int main(int argc, char **argv)
{
	const struct crau_item *nowhere = (const struct crau_item *)16;

	if (argc != 2)
		return 2;
	crau_fire_data(1, nowhere, strtoul(argv[1], NULL, 10));
	return 0;
}
