/* SPDX-License-Identifier: MIT */

/*
 * The probes of the provider crypto_auditing, as macros.
 *
 * A program that defines CRAU_ENABLE before including this file (to anything
 * but 0; ENABLE_CRYPTO_AUDITING is taken for it) gets USDT probes: a few nops
 * and an ELF note that says where they are and which registers hold the
 * arguments. Without it every macro is checked by the compiler and then
 * leaves nothing behind: no code, no data, no evaluated argument.
 *
 * Three ways to fire, from the most to the least convenient: the context stack
 * of <crau/crau.h>, the macros CRAU_..., the functions crau_fire_....
 *
 *   CRAU_NEW_CONTEXT(context, parent)
 *   CRAU_WORD_DATA(context, key, value)
 *   CRAU_STRING_DATA(context, key, value)
 *   CRAU_BLOB_DATA(context, key, value, size)
 *   CRAU_DATA(context, items, count)
 *   CRAU_DATAV(context, CRAU_WORD(key, value), CRAU_STRING(key, value), ...)
 *   CRAU_NEW_CONTEXT_WITH_DATA(context, parent, items, count)
 *   CRAU_NEW_CONTEXT_WITH_DATAV(context, parent, CRAU_STRING(...), ...)
 *
 * A context is any machine word, an integer or a pointer; CRAU_NO_PARENT says
 * that a context has no parent. Keys are "[scope::]name" in ASCII, a name being
 * a letter followed by letters, digits and underscores.
 *
 * Define CRAU_NO_SEMAPHORE as well to have sites without a semaphore; see
 * crau_enabled().
 */

#ifndef CRAU_MACROS_H
#define CRAU_MACROS_H

#include <stdint.h>

#if defined(ENABLE_CRYPTO_AUDITING) && !defined(CRAU_ENABLE)
#define CRAU_ENABLE ENABLE_CRYPTO_AUDITING
#endif

/* The difference is -1 for 0 alone: a macro defined to nothing leaves "- - 1". */
#if defined(CRAU_ENABLE)
#if -CRAU_ENABLE - 1 != -1
#define CRAU_ENABLED_ 1
#endif
#endif

/* The parent of a context that has none. */
#define CRAU_NO_PARENT ((uintptr_t)-1)

/* One key with its value, an element of the arrays that CRAU_DATA and
 * CRAU_NEW_CONTEXT_WITH_DATA take. Fill it through CRAU_WORD, CRAU_STRING and
 * CRAU_BLOB: the meaning of value depends on size. */
struct crau_item {
	const char *key;
	const void *value;
	unsigned long size;
};

/* Values of crau_item.size that are no size. */
#define CRAU_SIZE_WORD   (~1UL) /* value is the word itself */
#define CRAU_SIZE_STRING (~0UL) /* value points to a NUL-terminated string */

/* The most items one probe carries; a reader ignores what is beyond. */
#define CRAU_MAX_ITEMS 16

/* Initialisers of a struct crau_item. */
#define CRAU_WORD(key, value) \
	{ (key), (const void *)(uintptr_t)(value), CRAU_SIZE_WORD }
#define CRAU_STRING(key, value) \
	{ (key), (const void *)(value), CRAU_SIZE_STRING }
#define CRAU_BLOB(key, value, size) \
	{ (key), (const void *)(value), (unsigned long)(size) }

#define CRAU_COUNT_(array) (sizeof(array) / sizeof((array)[0]))

/* Refuses, at compile time, a list that no reader would take whole. */
#define CRAU_CHECK_(array)                                                  \
	typedef char crau_more_than_16_items_[CRAU_COUNT_(array) <=         \
					      CRAU_MAX_ITEMS ? 1 : -1]      \
		__attribute__((unused))

#ifdef CRAU_ENABLED_

#ifndef __GNUC__
#error "CRAU_ENABLE needs GCC or Clang: leave it undefined for this compiler"
#endif
#if !defined(__ELF__)
#error "CRAU_ENABLE needs an ELF target: leave it undefined for this one"
#endif
#if !defined(__SIZEOF_POINTER__) || __SIZEOF_POINTER__ != 8
#error "the probes carry 64-bit words: leave CRAU_ENABLE undefined for this target"
#endif

#ifdef __has_attribute
#if __has_attribute(naked)
#define CRAU_HAS_NAKED_ 1
#endif
#if __has_attribute(noipa)
#define CRAU_OPAQUE_ naked, noipa
#else
#define CRAU_OPAQUE_ naked, noinline
#endif
#endif

#if defined(__x86_64__) && defined(CRAU_HAS_NAKED_)
#define CRAU_SITE_X86_64_ 1
#elif defined(__aarch64__)
#define CRAU_SITE_AARCH64_ 1
#else
/* An architecture (or a GCC before 8) that this header writes no sites for:
 * SystemTap's header knows them all, at one plain nop a site. */
#if defined(__has_include)
#if !__has_include(<sys/sdt.h>)
#error "no <sys/sdt.h>: install systemtap-sdt-dev(el), or leave CRAU_ENABLE undefined"
#endif
#endif
#include <sys/sdt.h>
#define CRAU_SITE_SDT_ 1
#endif

#if defined(CRAU_SITE_SDT_) && !defined(CRAU_NO_SEMAPHORE)
#define CRAU_NO_SEMAPHORE 1
#endif

#ifdef __cplusplus
extern "C" {
#endif

/*
 * crau_enabled() is false while nobody listens, so that a publisher can leave
 * out whatever a probe's arguments cost. The macros ask it themselves.
 *
 * The kernel raises the semaphore before it arms the first site and lowers it
 * after it has disarmed the last, in every process that maps the file, also in
 * those that map it later. All sites of a shared object (or program) share one
 * semaphore: a publisher asks one question, whichever probes are listened to.
 * "used", because the notes name it where no compiler can see it.
 */
#ifdef CRAU_NO_SEMAPHORE
#define CRAU_SEMAPHORE_ "0"
#define crau_enabled() 1
#else
#define CRAU_SEMAPHORE_ "crau_semaphore"
extern volatile unsigned short crau_semaphore;
__attribute__((weak, used, visibility("hidden"), section(".probes")))
volatile unsigned short crau_semaphore = 0;
#define crau_enabled() __builtin_expect(crau_semaphore != 0, 0)
#endif

/*
 * The note of the site at the local label 990, in the form that SystemTap's
 * documentation of user-space probes gives (type 3, name "stapsdt"): address,
 * link-time address of .stapsdt.base (a reader learns from it how far a
 * prelinker moved the file), semaphore, provider, probe, argument specs. "?"
 * puts it into the section group of the code, if that has one, so that the
 * linker drops both together.
 */
#define CRAU_NOTE_(probe, specs)                                            \
	".pushsection .note.stapsdt,\"?\",\"note\"\n"                       \
	".balign 4\n"                                                       \
	".4byte 992f-991f, 994f-993f, 3\n"                                  \
	"991: .asciz \"stapsdt\"\n"                                         \
	"992: .balign 4\n"                                                  \
	"993: .8byte 990b\n"                                                \
	".8byte _.stapsdt.base\n"                                           \
	".8byte " CRAU_SEMAPHORE_ "\n"                                      \
	".asciz \"crypto_auditing\"\n"                                      \
	".asciz \"" #probe "\"\n"                                           \
	".asciz \"" specs "\"\n"                                            \
	"994: .balign 4\n"                                                  \
	".popsection\n"                                                     \
	".ifndef _.stapsdt.base\n"                                          \
	".pushsection .stapsdt.base,\"aG\",\"progbits\",.stapsdt.base,comdat\n" \
	".weak _.stapsdt.base\n"                                            \
	".hidden _.stapsdt.base\n"                                          \
	"_.stapsdt.base: .space 1\n"                                        \
	".size _.stapsdt.base, 1\n"                                         \
	".popsection\n"                                                     \
	".endif\n"

#ifdef CRAU_SITE_X86_64_
/*
 * A site is a function of its own, one per probe and object file:
 *
 *   +0   nop          where the note points; any tracer may put a breakpoint
 *   +1   nopw (10)    what kernels replace without a trap that do it safely
 *   +11  ret
 *   +12  nopl n(%rax) never run
 *
 * Linux 6.18 to 7.1 replace a five-byte nop by a call instead. There is none
 * here, on purpose: the call and the trampoline behind it write 32 bytes below
 * the stack pointer, which in a leaf function is the red zone with live data in
 * it; and a child that the process forks inherits the call but not the
 * trampoline, and dies of it. Later kernels replace the ten-byte nop, step over
 * the red zone, and give the trampoline to children. Earlier ones refuse to put
 * a probe on the ten-byte nop; on both, the one-byte nop serves, at the price of
 * a trap (0.43 instead of 0.32 us a hit).
 *
 * The function is there for the arguments: they are where the psABI puts them,
 * in registers, not in memory operands that an optimiser chose and that a tracer
 * may read wrong or cannot read. It also makes few sites, which are quick to
 * attach to, keeps the callers small, and leaves nothing below the stack pointer
 * that any tracer could hurt: its callers have made a call, and a naked function
 * has no frame. A call and a return cost 1 ns, and that only while somebody
 * listens (see crau_enabled).
 *
 * Alignment keeps the nops inside one page, a condition of the kernel's. The nop
 * behind the return differs from probe to probe, lest a linker that folds
 * identical functions makes one site of two probes. noipa (and for Clang the
 * attribute naked itself) keeps optimisers from dropping parameters that no code
 * seems to read.
 */
#define CRAU_SITE_(probe, number, specs)                                    \
	__asm__ __volatile__(                                               \
		".balign 16\n"                                              \
		"990: .byte 0x90\n"                                         \
		".byte 0x66, 0x2e, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0\n"       \
		".byte 0xc3\n"                                              \
		".byte 0x0f, 0x1f, 0x40, " #number "\n"                     \
		CRAU_NOTE_(probe, specs))

#define CRAU_STUB_                                                          \
	static inline __attribute__((CRAU_OPAQUE_, unused,                  \
				     no_instrument_function)) void

/* "inline" only keeps GCC from emitting what a file does not use; it notices
 * that the other attributes forbid to inline. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wattributes"

CRAU_STUB_ crau_site_new_context(
	__attribute__((unused)) uintptr_t context,
	__attribute__((unused)) uintptr_t parent)
{
	CRAU_SITE_(new_context, 1, "8@%rdi 8@%rsi");
}

CRAU_STUB_ crau_site_word_data(
	__attribute__((unused)) uintptr_t context,
	__attribute__((unused)) const char *key,
	__attribute__((unused)) uintptr_t value)
{
	CRAU_SITE_(word_data, 2, "8@%rdi 8@%rsi 8@%rdx");
}

CRAU_STUB_ crau_site_string_data(
	__attribute__((unused)) uintptr_t context,
	__attribute__((unused)) const char *key,
	__attribute__((unused)) const char *value)
{
	CRAU_SITE_(string_data, 3, "8@%rdi 8@%rsi 8@%rdx");
}

CRAU_STUB_ crau_site_blob_data(
	__attribute__((unused)) uintptr_t context,
	__attribute__((unused)) const char *key,
	__attribute__((unused)) const void *value,
	__attribute__((unused)) unsigned long size)
{
	CRAU_SITE_(blob_data, 4, "8@%rdi 8@%rsi 8@%rdx 8@%rcx");
}

CRAU_STUB_ crau_site_data(
	__attribute__((unused)) uintptr_t context,
	__attribute__((unused)) const struct crau_item *items,
	__attribute__((unused)) unsigned long count)
{
	CRAU_SITE_(data, 5, "8@%rdi 8@%rsi 8@%rdx");
}

CRAU_STUB_ crau_site_new_context_with_data(
	__attribute__((unused)) uintptr_t context,
	__attribute__((unused)) uintptr_t parent,
	__attribute__((unused)) const struct crau_item *items,
	__attribute__((unused)) unsigned long count)
{
	CRAU_SITE_(new_context_with_data, 6, "8@%rdi 8@%rsi 8@%rdx 8@%rcx");
}

#pragma GCC diagnostic pop

/* What a pointer leads to must be in memory when the site runs, though the
 * compiler sees no code that reads it. */
#define CRAU_ESCAPE_(pointer) \
	__asm__ __volatile__("" : : "r"((const void *)(pointer)) : "memory")

#define CRAU_SITE2_(probe, a, b) crau_site_##probe(a, b)
#define CRAU_SITE3_(probe, a, b, c) crau_site_##probe(a, b, c)
#define CRAU_SITE4_(probe, a, b, c, d) crau_site_##probe(a, b, c, d)
#else
/* One nop per place of use, arguments in registers of the compiler's choice. */
#define CRAU_ESCAPE_(pointer) __asm__ __volatile__("" : : : "memory")
#ifdef CRAU_SITE_AARCH64_
#define CRAU_SITE2_(probe, a, b)                                            \
	__asm__ __volatile__("990: nop\n" CRAU_NOTE_(probe, "8@%0 8@%1")    \
			     : : "r"(a), "r"(b) : "memory")
#define CRAU_SITE3_(probe, a, b, c)                                         \
	__asm__ __volatile__("990: nop\n" CRAU_NOTE_(probe, "8@%0 8@%1 8@%2") \
			     : : "r"(a), "r"(b), "r"(c) : "memory")
#define CRAU_SITE4_(probe, a, b, c, d)                                      \
	__asm__ __volatile__("990: nop\n"                                   \
			     CRAU_NOTE_(probe, "8@%0 8@%1 8@%2 8@%3")       \
			     : : "r"(a), "r"(b), "r"(c), "r"(d) : "memory")
#else
#define CRAU_SITE2_(probe, a, b)                                            \
	STAP_PROBE2(crypto_auditing, probe, a, b)
#define CRAU_SITE3_(probe, a, b, c)                                         \
	STAP_PROBE3(crypto_auditing, probe, a, b, c)
#define CRAU_SITE4_(probe, a, b, c, d)                                      \
	STAP_PROBE4(crypto_auditing, probe, a, b, c, d)
#endif
#endif /* CRAU_SITE_X86_64_ */

/*
 * The probes themselves. They fire whether or not anybody listens; the macros
 * below ask first.
 */
#define CRAU_FUNCTION_ static inline __attribute__((unused)) void

CRAU_FUNCTION_ crau_fire_new_context(uintptr_t context, uintptr_t parent)
{
	CRAU_SITE2_(new_context, context, parent);
}

CRAU_FUNCTION_ crau_fire_word_data(uintptr_t context, const char *key,
				   uintptr_t value)
{
	CRAU_ESCAPE_(key);
	CRAU_SITE3_(word_data, context, key, value);
}

CRAU_FUNCTION_ crau_fire_string_data(uintptr_t context, const char *key,
				     const char *value)
{
	CRAU_ESCAPE_(key);
	CRAU_ESCAPE_(value);
	CRAU_SITE3_(string_data, context, key, value);
}

CRAU_FUNCTION_ crau_fire_blob_data(uintptr_t context, const char *key,
				   const void *value, unsigned long size)
{
	CRAU_ESCAPE_(key);
	CRAU_ESCAPE_(value);
	CRAU_SITE4_(blob_data, context, key, value, size);
}

CRAU_FUNCTION_ crau_fire_data(uintptr_t context, const struct crau_item *items,
			      unsigned long count)
{
	CRAU_ESCAPE_(items);
	CRAU_SITE3_(data, context, items, count);
}

CRAU_FUNCTION_ crau_fire_new_context_with_data(uintptr_t context,
					       uintptr_t parent,
					       const struct crau_item *items,
					       unsigned long count)
{
	CRAU_ESCAPE_(items);
	CRAU_SITE4_(new_context_with_data, context, parent, items, count);
}

#ifdef __cplusplus
} /* extern "C" */
#endif

/* Each evaluates its arguments only if somebody listens. */
#define CRAU_NEW_CONTEXT(context, parent)                                   \
	do {                                                                \
		if (crau_enabled())                                         \
			crau_fire_new_context((uintptr_t)(context),         \
					      (uintptr_t)(parent));         \
	} while (0)

#define CRAU_WORD_DATA(context, key, value)                                 \
	do {                                                                \
		if (crau_enabled())                                         \
			crau_fire_word_data((uintptr_t)(context), (key),    \
					    (uintptr_t)(value));            \
	} while (0)

#define CRAU_STRING_DATA(context, key, value)                               \
	do {                                                                \
		if (crau_enabled())                                         \
			crau_fire_string_data((uintptr_t)(context), (key),  \
					      (value));                     \
	} while (0)

#define CRAU_BLOB_DATA(context, key, value, size)                           \
	do {                                                                \
		if (crau_enabled())                                         \
			crau_fire_blob_data((uintptr_t)(context), (key),    \
					    (value), (unsigned long)(size)); \
	} while (0)

#define CRAU_DATA(context, items, count)                                    \
	do {                                                                \
		if (crau_enabled())                                         \
			crau_fire_data((uintptr_t)(context), (items),       \
				       (unsigned long)(count));             \
	} while (0)

#define CRAU_DATAV(context, ...)                                            \
	do {                                                                \
		if (crau_enabled()) {                                       \
			const struct crau_item crau_items_[] = { __VA_ARGS__ }; \
			CRAU_CHECK_(crau_items_);                           \
			crau_fire_data((uintptr_t)(context), crau_items_,   \
				       CRAU_COUNT_(crau_items_));           \
		}                                                           \
	} while (0)

#define CRAU_NEW_CONTEXT_WITH_DATA(context, parent, items, count)           \
	do {                                                                \
		if (crau_enabled())                                         \
			crau_fire_new_context_with_data(                    \
				(uintptr_t)(context), (uintptr_t)(parent),  \
				(items), (unsigned long)(count));           \
	} while (0)

#define CRAU_NEW_CONTEXT_WITH_DATAV(context, parent, ...)                   \
	do {                                                                \
		if (crau_enabled()) {                                       \
			const struct crau_item crau_items_[] = { __VA_ARGS__ }; \
			CRAU_CHECK_(crau_items_);                           \
			crau_fire_new_context_with_data(                    \
				(uintptr_t)(context), (uintptr_t)(parent),  \
				crau_items_, CRAU_COUNT_(crau_items_));     \
		}                                                           \
	} while (0)

#else /* !CRAU_ENABLED_ */

/* The arm of a conditional that is never taken, not nothing: what a build
 * without probes does not check will not compile in the build that has them. No
 * statement, for which some compilers leave a jump when they do not optimise. */
#define CRAU_NEVER_(use) ((void)(0 ? ((void)(use), 0) : 0))
#define CRAU_NEVER_LIST_(...)                                               \
	__extension__((void)(0 ? ((void)(const struct crau_item[]){ __VA_ARGS__ }, \
				  0) : 0))
#define CRAU_NEVER_WORD_(word) CRAU_NEVER_((uintptr_t)(word))
#define CRAU_NEVER_ARRAY_(items, count)                                     \
	CRAU_NEVER_((0 ? (items) : (const struct crau_item *)0) +           \
		    (unsigned long)(count))

#define crau_enabled() 0
#define CRAU_NEW_CONTEXT(context, parent) \
	(CRAU_NEVER_WORD_(context), CRAU_NEVER_WORD_(parent))
#define CRAU_WORD_DATA(context, key, value) \
	CRAU_DATAV(context, CRAU_WORD(key, value))
#define CRAU_STRING_DATA(context, key, value) \
	CRAU_DATAV(context, CRAU_STRING(key, value))
#define CRAU_BLOB_DATA(context, key, value, size) \
	CRAU_DATAV(context, CRAU_BLOB(key, value, size))
#define CRAU_DATA(context, items, count) \
	(CRAU_NEVER_WORD_(context), CRAU_NEVER_ARRAY_(items, count))
#define CRAU_DATAV(context, ...) \
	(CRAU_NEVER_WORD_(context), CRAU_NEVER_LIST_(__VA_ARGS__))
#define CRAU_NEW_CONTEXT_WITH_DATA(context, parent, items, count)           \
	(CRAU_NEVER_WORD_(context), CRAU_NEVER_WORD_(parent),               \
	 CRAU_NEVER_ARRAY_(items, count))
#define CRAU_NEW_CONTEXT_WITH_DATAV(context, parent, ...)                   \
	(CRAU_NEVER_WORD_(context), CRAU_NEVER_WORD_(parent),               \
	 CRAU_NEVER_LIST_(__VA_ARGS__))

#endif /* CRAU_ENABLED_ */

#endif /* CRAU_MACROS_H */
