/* SPDX-License-Identifier: MIT */

/*
 * Nested contexts, on top of the probes of <crau/macros.h>.
 *
 * A context is opened, gets data, and is closed; a context opened in between
 * becomes its child. Most publishers need only three macros, which keep the open
 * contexts on a stack of the calling thread:
 *
 *   CRAU_BEGIN(CRAU_STRING("name", "pk::sign"));
 *   ...
 *   CRAU_ADD(CRAU_STRING("pk::algorithm", "mldsa"), CRAU_WORD("pk::bits", 15616));
 *   ...
 *   CRAU_END();
 *
 * Operations that interleave on one thread, such as the handshakes of a server
 * with non-blocking sockets, each need a struct crau_stack of their own, kept
 * with their other state, and the macros that take a stack: CRAU_PUSH,
 * CRAU_PUSH_DATA, CRAU_STACK_DATA, CRAU_POP. Only one thread at a time may use a
 * stack. Tracers identify a context by its thread and its value: the same value
 * on another thread is another context.
 *
 * Contexts are pushed and popped even without a tracer, at the cost of a few
 * stores, so that a tracer that attaches in the middle of an operation still
 * gets the parent of a new context.
 *
 * Without CRAU_ENABLE (see <crau/macros.h>) all of this compiles to nothing.
 */

#ifndef CRAU_CRAU_H
#define CRAU_CRAU_H

#include "macros.h"

/* The number of open contexts that a stack stores in addition to the innermost.
 * More may be open: on return to a context that was not stored, its nearest
 * stored ancestor becomes current. The default is deep enough for a handshake,
 * its key exchange and the operations of the provider below. All files of a
 * library must use the same value. */
#ifndef CRAU_STACK_DEPTH
#define CRAU_STACK_DEPTH 8
#endif

#ifdef CRAU_ENABLED_

#ifdef __cplusplus
extern "C" {
#endif

/* The open contexts of a thread or an operation. A zeroed stack is empty. */
struct crau_stack {
	uintptr_t current;                 /* valid if depth > 0 */
	uintptr_t outer[CRAU_STACK_DEPTH]; /* its ancestors, outermost first */
	unsigned long depth;               /* open contexts, stored or not */
	unsigned long serial;              /* ids returned by crau_new_id */
};

/* Weak and hidden: all files of a shared object share one stack per thread,
 * which other libraries cannot see. */
extern __thread struct crau_stack crau_thread_stack_;
__attribute__((weak, visibility("hidden")))
__thread struct crau_stack crau_thread_stack_;

#define crau_thread_stack() (&crau_thread_stack_)

/* Returns a context value that is unique in the thread, for publishers without
 * an object whose address could serve as one. The address of the stack separates
 * the stacks of several libraries; the odd multiplier (2^64 divided by the golden
 * ratio) spreads their serials over all words. */
static inline __attribute__((unused)) uintptr_t
crau_new_id(struct crau_stack *stack)
{
	return (uintptr_t)stack + ++stack->serial * 0x9e3779b97f4a7c15UL;
}

/* Returns the innermost open context, or CRAU_NO_PARENT. */
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

/* Closes the innermost open context, if any. This fires no probe. */
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

/* Opens a context as a child of the current one. */
#define CRAU_PUSH(stack, context)                                           \
	do {                                                                \
		struct crau_stack *crau_stack_ = (stack);                   \
		const uintptr_t crau_context_ = (uintptr_t)(context);       \
		CRAU_NEW_CONTEXT(crau_context_, crau_current(crau_stack_)); \
		crau_push(crau_stack_, crau_context_);                      \
	} while (0)

/* The same, with the first elements of the context. */
#define CRAU_PUSH_DATA(stack, context, ...)                                 \
	do {                                                                \
		struct crau_stack *crau_stack_ = (stack);                   \
		const uintptr_t crau_context_ = (uintptr_t)(context);       \
		CRAU_NEW_CONTEXT_WITH_DATAV(crau_context_,                  \
					    crau_current(crau_stack_),      \
					    __VA_ARGS__);                   \
		crau_push(crau_stack_, crau_context_);                      \
	} while (0)

/* Adds elements to the current context. */
#define CRAU_STACK_DATA(stack, ...) \
	CRAU_DATAV(crau_current(stack), __VA_ARGS__)

/* Closes the current context. */
#define CRAU_POP(stack) crau_pop(stack)

#else /* !CRAU_ENABLED_ */

/* C does not allow an empty struct, and C++ would give it another size. */
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

/* The same on the stack of the calling thread, with ids from crau_new_id. */
#define CRAU_BEGIN(...)                                                     \
	CRAU_PUSH_DATA(crau_thread_stack(), crau_new_id(crau_thread_stack()), \
		       __VA_ARGS__)
#define CRAU_ADD(...) CRAU_STACK_DATA(crau_thread_stack(), __VA_ARGS__)
#define CRAU_END() CRAU_POP(crau_thread_stack())

#endif /* CRAU_CRAU_H */
