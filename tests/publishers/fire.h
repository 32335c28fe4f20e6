/* SPDX-License-Identifier: Apache-2.0 */

/* Fires a trace. libreplay.so exports fire_trace; replay also contains it. */

#ifndef FIRE_H
#define FIRE_H

#include "counts.h"
#include "trace.h"

enum site {
	SITE_CRAU, /* of the publisher header */
	SITE_SDT,  /* plain nops, as in <sys/sdt.h> */
};

/* fire_trace fires all hits once, with the context ids[index], and counts them in
 * slot. Each probe has FIRE_TURNS sites of each kind; turn (any number) selects
 * one of them. */
#define FIRE_TURNS 3
void fire_trace(const struct trace *trace, const uintptr_t *ids,
		struct counts_slot *slot, enum site site, unsigned long turn);

typedef void fire_trace_function(const struct trace *, const uintptr_t *,
				 struct counts_slot *, enum site, unsigned long);

#endif
