// SPDX-License-Identifier: Apache-2.0

#include "fire.h"

typedef void fire_function(const struct trace *, const uintptr_t *,
			   struct counts_slot *);
fire_function fire_crau_0, fire_crau_1, fire_crau_2;
fire_function fire_sdt_0, fire_sdt_1, fire_sdt_2;

static fire_function *const functions[][FIRE_TURNS] = {
	[SITE_CRAU] = { fire_crau_0, fire_crau_1, fire_crau_2 },
	[SITE_SDT] = { fire_sdt_0, fire_sdt_1, fire_sdt_2 },
};

__attribute__((visibility("default")))
void fire_trace(const struct trace *trace, const uintptr_t *ids,
		struct counts_slot *slot, enum site site, unsigned long turn)
{
	functions[site][turn % FIRE_TURNS](trace, ids, slot);
}
