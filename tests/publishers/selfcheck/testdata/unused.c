/* SPDX-License-Identifier: MIT */

/* Includes the header and fires nothing. */

#include "crau/crau.h"

int unused(void);

int unused(void)
{
	return 0;
}
