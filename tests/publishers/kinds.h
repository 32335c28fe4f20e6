/* SPDX-License-Identifier: Apache-2.0 */

/* The cases of "kinds": what was fired, remembered to be printed. */

#ifndef KINDS_H
#define KINDS_H

#include <stdbool.h>

#include "counts.h"
#include "crau/macros.h"

/* What a reader can see of memory that a probe points to. */
enum reach {
	READABLE,
	NULL_POINTER,
	UNREADABLE,
};

/* fired_begin notes a hit that is about to be fired, and counts it; fired_items
 * and fired_item note its values, in their order; fired_end counts it done. name
 * says what the case is about. */
void fired_begin(const char *name, enum probe probe, uintptr_t context,
		 uintptr_t parent, unsigned long count);
void fired_items(const struct crau_item *items, unsigned long count);
void fired_end(void);

/* One that a reader cannot see all of; readable is the length of its bytes. */
void fired_item(const struct crau_item *item, enum reach key, enum reach value,
		unsigned long readable);

/* The cases that plain sites are for, compiled with and without optimisation. */
void plain_cases_optimised(uintptr_t context);
void plain_cases_unoptimised(uintptr_t context);
/* Argument specs no compiler is sure to choose. */
void form_cases(uintptr_t context);

#endif
