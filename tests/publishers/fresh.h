/* SPDX-License-Identifier: Apache-2.0 */

#ifndef FRESH_H
#define FRESH_H

#include <stddef.h>

#include "counts.h"
#include "crau/macros.h"

/*
 * Literals on a separate page. Touching a page of a file also maps up to 16 of
 * its neighbours (fault-around, 64 KiB by default). Unused padding of that size
 * on both sides prevents that for this page.
 */
#define FRESH_PAGE 4096
#define FRESH_PADDING (16 * FRESH_PAGE)

struct fresh_literals {
	char before[FRESH_PADDING];
	char name_key[64], name[64], text_key[64], text[64], word_key[64];
	char rest_of_page[FRESH_PAGE - 5 * 64];
	char after[FRESH_PADDING];
};

#define FRESH_LITERALS(where)                                               \
	{                                                                   \
		.name_key = "name", .name = "fresh::" where,                \
		.text_key = "fresh::text", .text = "text of the " where,    \
		.word_key = "fresh::word",                                  \
	}

#define FRESH_VALUES 3
#define FRESH_WORD 2718281828

/* Fires the hit. It is inline so that both the program and the library have a
 * site. */
static inline void fresh_fire(const struct fresh_literals *literals,
			      uintptr_t context)
{
	const struct crau_item items[FRESH_VALUES] = {
		CRAU_STRING(literals->name_key, literals->name),
		CRAU_STRING(literals->text_key, literals->text),
		CRAU_WORD(literals->word_key, FRESH_WORD),
	};

	crau_fire_new_context_with_data(context, CRAU_NO_PARENT, items,
					FRESH_VALUES);
}

/* Exported by libfresh.so. */
const struct fresh_literals *fresh_library_literals(void);
void fresh_library_fire(uintptr_t context);

#endif
