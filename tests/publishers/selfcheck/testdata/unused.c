/* SPDX-License-Identifier: Apache-2.0 */

/* Includes the header without firing a probe. */

#include "crau/crau.h"

int unused(void);

int unused(void)
{
	return 0;
}
