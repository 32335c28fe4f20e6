// SPDX-License-Identifier: Apache-2.0

/* Compiled twice: PLAIN_CASES is the name of the function, PLAIN_NAME the prefix of
 * its cases. Unoptimised code has its variables on the stack, which gives memory
 * operands; optimised code has them in registers. */

#include <stddef.h>

#include "kinds.h"
#include "plain.h"

/* Not inlined, so that the arguments are in registers even if the caller knows
 * their values. */
__attribute__((noinline))
static void arrays(uintptr_t context, uintptr_t parent,
		   const struct crau_item *items, unsigned long count)
{
	fired_begin(PLAIN_NAME ": an array", PROBE_DATA, context, CRAU_NO_PARENT,
		    count);
	fired_items(items, count);
	PLAIN_SITE3(data, context, items, count);
	fired_end();

	fired_begin(PLAIN_NAME ": an array, a second site", PROBE_DATA,
		    context, CRAU_NO_PARENT, count - 1);
	fired_items(items, count - 1);
	PLAIN_SITE3(data, context, items, count - 1);
	fired_end();

	fired_begin(PLAIN_NAME ": a context with an array",
		    PROBE_NEW_CONTEXT_WITH_DATA, context + 1, parent, count);
	fired_items(items, count);
	PLAIN_SITE4(new_context_with_data, context + 1, parent, items, count);
	fired_end();
}

void PLAIN_CASES(uintptr_t context)
{
	const struct crau_item items[] = {
		CRAU_WORD("plain::word", 4711),
		CRAU_STRING("plain::string", PLAIN_NAME),
		CRAU_BLOB("plain::blob", "\x01\x00\xff", 3),
	};
	const struct crau_item constant = CRAU_WORD("plain::constant", 42);
	const struct crau_item negative = CRAU_WORD("plain::negative", -7);
	const struct crau_item short_word = CRAU_WORD("plain::int", -5);
	const struct crau_item string = CRAU_STRING("plain::key", "a value");
	const struct crau_item blob = CRAU_BLOB("plain::key", "blob", 4);

	fired_begin(PLAIN_NAME ": constants", PROBE_NEW_CONTEXT, 0x51, (uintptr_t)-1, 0);
	PLAIN_SITE2(new_context, 0x51L, -1L);
	fired_end();

	fired_begin(PLAIN_NAME ": variables", PROBE_NEW_CONTEXT, context, 0x51, 0);
	PLAIN_SITE2(new_context, context, 0x51UL);
	fired_end();

	fired_begin(PLAIN_NAME ": a constant word", PROBE_WORD_DATA, context,
		    CRAU_NO_PARENT, 1);
	fired_items(&constant, 1);
	PLAIN_SITE3(word_data, context, "plain::constant", 42UL);
	fired_end();

	fired_begin(PLAIN_NAME ": a negative constant", PROBE_WORD_DATA, context,
		    CRAU_NO_PARENT, 1);
	fired_items(&negative, 1);
	PLAIN_SITE3(word_data, context, "plain::negative", -7L);
	fired_end();

#ifdef PLAIN_SDT /* which handles the size and sign of its arguments */
	int narrow = -5;
	__asm__ __volatile__("" : "+r"(narrow));
	fired_begin(PLAIN_NAME ": an int", PROBE_WORD_DATA, context,
		    CRAU_NO_PARENT, 1);
	fired_items(&short_word, 1);
	PLAIN_SITE3(word_data, context, "plain::int", narrow);
	fired_end();
#else
	(void)short_word;
#endif

	fired_begin(PLAIN_NAME ": a string", PROBE_STRING_DATA, context,
		    CRAU_NO_PARENT, 1);
	fired_items(&string, 1);
	PLAIN_SITE3(string_data, context, string.key, string.value);
	fired_end();

	fired_begin(PLAIN_NAME ": a blob", PROBE_BLOB_DATA, context,
		    CRAU_NO_PARENT, 1);
	fired_items(&blob, 1);
	PLAIN_SITE4(blob_data, context, blob.key, blob.value, blob.size);
	fired_end();

	arrays(context, 0x51, items, 3);
}
