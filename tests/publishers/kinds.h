/* SPDX-License-Identifier: Apache-2.0 */

/* The cases of "kinds". Each is recorded, to be printed at the end. */

#ifndef KINDS_H
#define KINDS_H

#include <stdbool.h>

#include "counts.h"
#include "crau/macros.h"

/* Whether a tracer can read the memory at a pointer. */
enum reach {
	READABLE,
	NULL_POINTER,
	UNREADABLE,
};

/* fired_begin records and counts a hit that is about to be fired; fired_items and
 * fired_item record its values, in order; fired_end counts it as done. name
 * describes the case. */
void fired_begin(const char *name, enum probe probe, uintptr_t context,
		 uintptr_t parent, unsigned long count);
void fired_items(const struct crau_item *items, unsigned long count);
void fired_end(void);

/* fired_item records an item that may not be completely readable; readable is the
 * length of its value in bytes. */
void fired_item(const struct crau_item *item, enum reach key, enum reach value,
		unsigned long readable);

/* The cases of plain sites, compiled with and without optimisation. */
void plain_cases_optimised(uintptr_t context);
void plain_cases_unoptimised(uintptr_t context);
/* Argument specifications that no compiler is certain to choose. */
void form_cases(uintptr_t context);

#endif
