/* SPDX-License-Identifier: Apache-2.0 */

/* Tests the context stack without a tracer; exits with status 0 if it is correct. */

#include <stdio.h>

#include "crau/crau.h"

#define EXPECT(condition)                                                   \
	do {                                                                \
		if (!(condition)) {                                         \
			printf("line %d: %s\n", __LINE__, #condition);      \
			failures++;                                         \
		}                                                           \
	} while (0)

int main(void)
{
	struct crau_stack stack = { 0, { 0 }, 0, 0 };
	int failures = 0;

	EXPECT(crau_current(&stack) == CRAU_NO_PARENT);
	crau_pop(&stack);
	EXPECT(crau_current(&stack) == CRAU_NO_PARENT);

	for (uintptr_t i = 1; i <= CRAU_STACK_DEPTH; i++) {
		crau_push(&stack, i);
		EXPECT(crau_current(&stack) == i);
	}
	/* Beyond the maximum depth the innermost context is known, */
	crau_push(&stack, 100);
	crau_push(&stack, 101);
	crau_push(&stack, 102);
	EXPECT(crau_current(&stack) == 102);
	/* the contexts around it only up to the maximum depth, */
	crau_pop(&stack);
	EXPECT(crau_current(&stack) == CRAU_STACK_DEPTH);
	crau_pop(&stack);
	EXPECT(crau_current(&stack) == CRAU_STACK_DEPTH);
	/* and pushes and pops stay balanced. */
	crau_pop(&stack);
	for (uintptr_t i = CRAU_STACK_DEPTH; i >= 1; i--) {
		EXPECT(crau_current(&stack) == i);
		crau_pop(&stack);
	}
	EXPECT(crau_current(&stack) == CRAU_NO_PARENT);

	struct crau_stack other = { 0, { 0 }, 0, 0 };
	uintptr_t first = crau_new_id(&stack);
	EXPECT(first != crau_new_id(&stack));
	EXPECT(first != crau_new_id(&other));

	CRAU_BEGIN(CRAU_STRING("name", "stack::outer"));
	uintptr_t outer = crau_current(crau_thread_stack());
	CRAU_BEGIN(CRAU_STRING("name", "stack::inner"));
	EXPECT(crau_current(crau_thread_stack()) != outer);
	CRAU_END();
	EXPECT(crau_current(crau_thread_stack()) == outer);
	CRAU_END();
	EXPECT(crau_current(crau_thread_stack()) == CRAU_NO_PARENT);
	return failures != 0;
}
