// SPDX-License-Identifier: Apache-2.0

/* Hand-written argument specifications, so that every form exists regardless of
 * the compiler. */

#define PLAIN_OWN
#include <stdlib.h>

#include "kinds.h"
#include "plain.h"

#define FORM(probe, specs, ...) \
	__asm__ __volatile__(PLAIN_NOTE(probe, specs) : : __VA_ARGS__ : "memory")

#if defined(__x86_64__)
/* A symbol of the program itself: the linker creates no GOT slot for it. */
extern long form_variable;
long form_variable;
#endif

static void begin(const char *name, enum probe probe, uintptr_t context,
		  const struct crau_item *item)
{
	fired_begin(name, probe, context, CRAU_NO_PARENT, 1);
	fired_items(item, 1);
}

void form_cases(uintptr_t context)
{
	static const char key[] = "form::key";
	/* Memory operands point here: the value is fields[2], and fields is at +16. */
	struct {
		uintptr_t before, context, fields[4];
	} memory = { 0, context, { 0, 0, 0xabcdef, 0 } };
	const struct crau_item word = CRAU_WORD(key, 0xabcdef);
	const struct crau_item seven = CRAU_WORD(key, 7);
	const struct crau_item minus = CRAU_WORD(key, -2);

#if defined(__x86_64__)
	const struct crau_item narrow = CRAU_WORD(key, 0xfffffffe);
	const struct crau_item byte = CRAU_WORD(key, -128);
	/* The address is loaded from the GOT, which makes the linker create a slot. */
	const struct crau_item slot = CRAU_WORD(key, (uintptr_t)getenv);
	const struct crau_item address = CRAU_WORD(key, (uintptr_t)&form_variable);
	const struct crau_item two = CRAU_WORD(key, 0xfff0);

	begin("form 8@$N", PROBE_WORD_DATA, context, &seven);
	FORM(word_data, "8@%0 8@%1 8@$7", "r"(context), "r"(key));
	fired_end();

	begin("form -8@%R", PROBE_WORD_DATA, context, &minus);
	FORM(word_data, "-8@%0 8@%1 -8@%2", "r"(context), "r"(key), "r"(-2L));
	fired_end();

	begin("form 8@(%R)", PROBE_WORD_DATA, context, &word);
	FORM(word_data, "8@(%0) 8@%1 8@(%2)", "r"(&memory.context), "r"(key),
	     "r"(&memory.fields[2]), "m"(memory));
	fired_end();

	begin("form 8@N(%R,%R,8)", PROBE_WORD_DATA, context, &word);
	FORM(word_data, "8@8(%0) 8@%1 8@16(%0,%2,8)", "r"(&memory), "r"(key),
	     "r"(2L), "m"(memory));
	fired_end();

	begin("form 8@N(%R,%R)", PROBE_WORD_DATA, context, &word);
	FORM(word_data, "-8@-8(%0) 8@%1 8@-16(%0,%2)", "r"(&memory.fields[0]),
	     "r"(key), "r"(32L), "m"(memory));
	fired_end();

	begin("form -4@%R", PROBE_WORD_DATA, context, &minus);
	FORM(word_data, "8@%0 8@%1 -4@%k2", "r"(context), "r"(key),
	     "r"(0xffffffffeUL));
	fired_end();

	begin("form 4@%R", PROBE_WORD_DATA, context, &narrow);
	FORM(word_data, "8@%0 8@%1 4@%k2", "r"(context), "r"(key),
	     "r"(0xffffffffeUL));
	fired_end();

	begin("form -1@%R", PROBE_WORD_DATA, context, &byte);
	FORM(word_data, "8@%0 8@%1 -1@%b2", "r"(context), "r"(key), "r"(0x4480UL));
	fired_end();

	begin("form 2@%R", PROBE_WORD_DATA, context, &two);
	FORM(word_data, "8@%0 8@%1 2@%w2", "r"(context), "r"(key), "r"(0x4fff0UL));
	fired_end();

	begin("form -4@$N", PROBE_WORD_DATA, context, &minus);
	FORM(word_data, "8@%0 8@%1 -4@$-2", "r"(context), "r"(key));
	fired_end();

	begin("form 8@S@GOTPCREL(%rip), a slot", PROBE_WORD_DATA, context, &slot);
	FORM(word_data, "8@%0 8@%1 8@getenv@GOTPCREL(%%rip)", "r"(context), "r"(key));
	fired_end();

	begin("form 8@S@GOTPCREL(%rip), no slot", PROBE_WORD_DATA, context, &address);
	FORM(word_data, "8@%0 8@%1 8@form_variable@GOTPCREL(%%rip)", "r"(context), "r"(key));
	fired_end();
#elif defined(__aarch64__)
	begin("form 8@xN", PROBE_WORD_DATA, context, &minus);
	FORM(word_data, "8@%0 8@%1 -8@%2", "r"(context), "r"(key), "r"(-2L));
	fired_end();

	begin("form 8@N", PROBE_WORD_DATA, context, &seven);
	FORM(word_data, "8@%0 8@%1 8@7", "r"(context), "r"(key));
	fired_end();

	begin("form 8@[xN, N]", PROBE_WORD_DATA, context, &word);
	FORM(word_data, "8@[%0, 8] 8@%1 8@[%0, 32]", "r"(&memory), "r"(key),
	     "m"(memory));
	fired_end();
#endif
	(void)word;
	(void)seven;
	(void)minus;
	(void)memory;
}
