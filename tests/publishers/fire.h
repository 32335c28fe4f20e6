/* SPDX-License-Identifier: Apache-2.0 */

/* Firing a trace. libreplay.so exports fire_trace; replay has it built in. */

#ifndef FIRE_H
#define FIRE_H

#include "counts.h"
#include "trace.h"

enum site {
	SITE_CRAU, /* of the publisher header */
	SITE_SDT,  /* plain nops, as of <sys/sdt.h> */
};

/* fire_trace fires all hits once, contexts being ids[index], and counts them in
 * slot. There are FIRE_TURNS sites of each probe and kind of site; turn (any
 * number) picks one of them. */
#define FIRE_TURNS 3
void fire_trace(const struct trace *trace, const uintptr_t *ids,
		struct counts_slot *slot, enum site site, unsigned long turn);

typedef void fire_trace_function(const struct trace *, const uintptr_t *,
				 struct counts_slot *, enum site, unsigned long);

#endif
