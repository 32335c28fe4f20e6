// SPDX-License-Identifier: Apache-2.0

#include "fresh.h"

static const struct fresh_literals literals
	__attribute__((aligned(FRESH_PAGE))) = FRESH_LITERALS("library");

__attribute__((visibility("default")))
const struct fresh_literals *fresh_library_literals(void)
{
	return &literals;
}

__attribute__((visibility("default")))
void fresh_library_fire(uintptr_t context)
{
	fresh_fire(&literals, context);
}
