// SPDX-License-Identifier: Apache-2.0

/* Compiled FIRE_TURNS times, with FIRE_TURN 0, 1, ...; each object has its own
 * sites. */

#include "fire.h"
#include "plain.h"

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)

/* Calls the functions below the macros, which do not check the semaphore:
 * benchmarks measure the cost of firing. */
void JOIN(fire_crau_, FIRE_TURN)(const struct trace *trace, const uintptr_t *ids,
				 struct counts_slot *slot)
{
	for (size_t i = 0; i < trace->length; i++) {
		const struct hit *hit = &trace->hits[i];
		uintptr_t context = ids[hit->context];
		uintptr_t parent = hit->parent == TRACE_NO_PARENT ?
			CRAU_NO_PARENT : ids[hit->parent];

		counts_begin(slot, hit->probe, hit->count);
		switch (hit->probe) {
		case PROBE_NEW_CONTEXT:
			crau_fire_new_context(context, parent);
			break;
		case PROBE_DATA:
			crau_fire_data(context, hit->items, hit->count);
			break;
		default:
			crau_fire_new_context_with_data(context, parent,
							hit->items, hit->count);
			break;
		}
		counts_end(slot, hit->probe, hit->count);
	}
}

void JOIN(fire_sdt_, FIRE_TURN)(const struct trace *trace, const uintptr_t *ids,
				struct counts_slot *slot)
{
	for (size_t i = 0; i < trace->length; i++) {
		const struct hit *hit = &trace->hits[i];
		uintptr_t context = ids[hit->context];
		uintptr_t parent = hit->parent == TRACE_NO_PARENT ?
			CRAU_NO_PARENT : ids[hit->parent];

		counts_begin(slot, hit->probe, hit->count);
		switch (hit->probe) {
		case PROBE_NEW_CONTEXT:
			PLAIN_SITE2(new_context, context, parent);
			break;
		case PROBE_DATA:
			PLAIN_SITE3(data, context, hit->items, hit->count);
			break;
		default:
			PLAIN_SITE4(new_context_with_data, context, parent,
				    hit->items, hit->count);
			break;
		}
		counts_end(slot, hit->probe, hit->count);
	}
}
