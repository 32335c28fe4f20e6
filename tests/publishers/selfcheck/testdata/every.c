/* SPDX-License-Identifier: Apache-2.0 */

/* Every macro of the header, with arguments of all kinds. With -DNOTHING the same
 * program without the macros. */

#include "crau/crau.h"

struct operation {
	struct crau_stack contexts;
	int number;
};

int use(struct operation *operation, const char *text, long word, unsigned char byte);

#ifdef NOTHING
int use(struct operation *operation, const char *text, long word, unsigned char byte)
{
	(void)text;
	(void)word;
	(void)byte;
	return operation->number;
}
#else
extern const struct crau_item fixed[];

int use(struct operation *operation, const char *text, long word, unsigned char byte)
{
	CRAU_NEW_CONTEXT(word, CRAU_NO_PARENT);
	CRAU_NEW_CONTEXT(operation, word);
	CRAU_WORD_DATA(word, "every::word", byte);
	CRAU_WORD_DATA(word, text, -1);
	CRAU_STRING_DATA(word, "every::string", text);
	CRAU_BLOB_DATA(word, "every::blob", &operation->number, sizeof(int));
	CRAU_DATA(word, fixed, 1);
	CRAU_DATA(word, fixed, byte);
	CRAU_DATAV(word, CRAU_WORD("every::word", byte), CRAU_STRING(text, text),
		   CRAU_BLOB("every::blob", text, word));
	CRAU_NEW_CONTEXT_WITH_DATA(operation, word, fixed, 1);
	CRAU_NEW_CONTEXT_WITH_DATAV(1, operation, CRAU_STRING("name", "every::one"));
	CRAU_PUSH(&operation->contexts, operation);
	CRAU_PUSH_DATA(&operation->contexts, crau_new_id(&operation->contexts), CRAU_WORD("every::word", word));
	CRAU_STACK_DATA(&operation->contexts, CRAU_WORD("every::current", crau_current(&operation->contexts)));
	CRAU_POP(&operation->contexts);
	crau_push(&operation->contexts, 3);
	crau_pop(&operation->contexts);
	CRAU_POP(&operation->contexts);
	CRAU_BEGIN(CRAU_STRING("name", "every::two"));
	CRAU_ADD(CRAU_WORD("every::word", 1), CRAU_WORD("every::word", 2));
	CRAU_END();
	if (crau_enabled())
		CRAU_ADD(CRAU_WORD("every::enabled", 1));
	return operation->number;
}
#endif
