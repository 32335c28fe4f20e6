/* SPDX-License-Identifier: MIT */

/*
 * Contexts that nest, on top of the probes of <crau/macros.h>.
 *
 * A context is opened, given data, and left again; one opened meanwhile has it
 * as its parent. The usual case needs three macros, and keeps the contexts that
 * are open on a stack of the calling thread:
 *
 *   CRAU_BEGIN(CRAU_STRING("name", "pk::sign"));
 *   ...
 *   CRAU_ADD(CRAU_STRING("pk::algorithm", "mldsa"), CRAU_WORD("pk::bits", 15616));
 *   ...
 *   CRAU_END();
 *
 * Operations that interleave on one thread, like the handshakes of a server
 * with non-blocking sockets, keep a struct crau_stack each, beside their other
 * state, and use the macros that take one: CRAU_PUSH, CRAU_PUSH_DATA,
 * CRAU_STACK_DATA, CRAU_POP. Such a stack belongs to one thread at a time.
 * Listeners tell contexts apart by thread as well as by value: what another
 * thread says under the same value belongs to another context.
 *
 * Contexts are pushed and popped also while nobody listens, so that a parent is
 * known when somebody begins to in the middle; then it costs a few stores.
 *
 * Without CRAU_ENABLE (see <crau/macros.h>) none of this leaves code or data.
 */

#ifndef CRAU_CRAU_H
#define CRAU_CRAU_H

#include "macros.h"

/* How many open contexts a stack remembers around the innermost. More may be
 * open: whoever comes back to a forgotten one finds its nearest remembered
 * ancestor. Deep enough for a handshake, its key exchange and what the provider
 * below does; the same in every file of one library. */
#ifndef CRAU_STACK_DEPTH
#define CRAU_STACK_DEPTH 8
#endif

#ifdef CRAU_ENABLED_

#ifdef __cplusplus
extern "C" {
#endif

/* The open contexts of a thread or of an operation. All zero is an empty one. */
struct crau_stack {
	uintptr_t current;                 /* valid if depth > 0 */
	uintptr_t outer[CRAU_STACK_DEPTH]; /* around it, outermost first */
	unsigned long depth;               /* open contexts, remembered or not */
	unsigned long serial;              /* ids handed out by crau_new_id */
};

/* Weak and hidden: the files of one shared object have one stack per thread
 * between them, and no other library sees it. */
extern __thread struct crau_stack crau_thread_stack_;
__attribute__((weak, visibility("hidden")))
__thread struct crau_stack crau_thread_stack_;

#define crau_thread_stack() (&crau_thread_stack_)

/* A value for a context that no other of the thread has, for publishers without
 * an object whose address would do. The address keeps the stacks of several
 * libraries apart, the odd multiplier (2^64 over the golden ratio) spreads
 * their serials over all words. */
static inline __attribute__((unused)) uintptr_t
crau_new_id(struct crau_stack *stack)
{
	return (uintptr_t)stack + ++stack->serial * 0x9e3779b97f4a7c15UL;
}

/* The innermost open context, CRAU_NO_PARENT if none is. */
static inline __attribute__((unused)) uintptr_t
crau_current(const struct crau_stack *stack)
{
	return stack->depth > 0 ? stack->current : CRAU_NO_PARENT;
}

/* Opens context without firing a probe. */
static inline __attribute__((unused)) void
crau_push(struct crau_stack *stack, uintptr_t context)
{
	if (stack->depth > 0 && stack->depth <= CRAU_STACK_DEPTH)
		stack->outer[stack->depth - 1] = stack->current;
	stack->current = context;
	stack->depth++;
}

/* Leaves the innermost open context; nothing happens if none is open. There is
 * no probe for it. */
static inline __attribute__((unused)) void
crau_pop(struct crau_stack *stack)
{
	if (stack->depth == 0)
		return;
	stack->depth--;
	if (stack->depth > CRAU_STACK_DEPTH)
		stack->current = stack->outer[CRAU_STACK_DEPTH - 1];
	else if (stack->depth > 0)
		stack->current = stack->outer[stack->depth - 1];
}

#ifdef __cplusplus
} /* extern "C" */
#endif

/* Opens context inside the current one. */
#define CRAU_PUSH(stack, context)                                           \
	do {                                                                \
		struct crau_stack *crau_stack_ = (stack);                   \
		const uintptr_t crau_context_ = (uintptr_t)(context);       \
		CRAU_NEW_CONTEXT(crau_context_, crau_current(crau_stack_)); \
		crau_push(crau_stack_, crau_context_);                      \
	} while (0)

/* The same with what is known of it already. */
#define CRAU_PUSH_DATA(stack, context, ...)                                 \
	do {                                                                \
		struct crau_stack *crau_stack_ = (stack);                   \
		const uintptr_t crau_context_ = (uintptr_t)(context);       \
		CRAU_NEW_CONTEXT_WITH_DATAV(crau_context_,                  \
					    crau_current(crau_stack_),      \
					    __VA_ARGS__);                   \
		crau_push(crau_stack_, crau_context_);                      \
	} while (0)

/* Says more about the current context. */
#define CRAU_STACK_DATA(stack, ...) \
	CRAU_DATAV(crau_current(stack), __VA_ARGS__)

/* Leaves the current context. */
#define CRAU_POP(stack) crau_pop(stack)

#else /* !CRAU_ENABLED_ */

/* Not empty: C would not have it, and C++ would lay it out otherwise. */
struct crau_stack {
	char unused;
};

#define crau_thread_stack() ((struct crau_stack *)0)
#define crau_new_id(stack) (CRAU_NEVER_(stack), (uintptr_t)0)
#define crau_current(stack) (CRAU_NEVER_(stack), CRAU_NO_PARENT)
#define crau_push(stack, context) \
	(CRAU_NEVER_(stack), CRAU_NEVER_WORD_(context))
#define crau_pop(stack) CRAU_NEVER_(stack)
#define CRAU_PUSH(stack, context) crau_push(stack, context)
#define CRAU_PUSH_DATA(stack, context, ...) \
	(crau_push(stack, context), CRAU_NEVER_LIST_(__VA_ARGS__))
#define CRAU_STACK_DATA(stack, ...) \
	(CRAU_NEVER_(stack), CRAU_NEVER_LIST_(__VA_ARGS__))
#define CRAU_POP(stack) crau_pop(stack)

#endif /* CRAU_ENABLED_ */

/* The same on the stack of the calling thread, contexts numbered by it. */
#define CRAU_BEGIN(...)                                                     \
	CRAU_PUSH_DATA(crau_thread_stack(), crau_new_id(crau_thread_stack()), \
		       __VA_ARGS__)
#define CRAU_ADD(...) CRAU_STACK_DATA(crau_thread_stack(), __VA_ARGS__)
#define CRAU_END() CRAU_POP(crau_thread_stack())

#endif /* CRAU_CRAU_H */
