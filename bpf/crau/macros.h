/* SPDX-License-Identifier: MIT */

/*
 * The probes of the provider crypto_auditing, as macros.
 *
 * Define CRAU_ENABLE before including this file, to anything except 0, to get
 * USDT probes: a few nops each, and an ELF note with their address and the
 * registers that hold the arguments. ENABLE_CRYPTO_AUDITING has the same effect.
 * Otherwise the compiler still checks every macro, but generates no code and no
 * data, and does not evaluate the arguments.
 *
 * There are three ways to fire a probe, the most convenient first: the context
 * stack of <crau/crau.h>, the macros CRAU_..., the functions crau_fire_....
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
 * A context is any machine word, an integer or a pointer; a context without a
 * parent has the parent CRAU_NO_PARENT. Keys are ASCII and have the form
 * "[scope::]name"; scope and name begin with a letter, followed by letters,
 * digits and underscores.
 *
 * Define CRAU_NO_SEMAPHORE, too, for sites without a semaphore; see
 * crau_enabled().
 */

#ifndef CRAU_MACROS_H
#define CRAU_MACROS_H

#include <stdint.h>

#if defined(ENABLE_CRYPTO_AUDITING) && !defined(CRAU_ENABLE)
#define CRAU_ENABLE ENABLE_CRYPTO_AUDITING
#endif

/* The difference is -1 only for 0; an empty definition leaves "- - 1", which is 1. */
#if defined(CRAU_ENABLE)
#if -CRAU_ENABLE - 1 != -1
#define CRAU_ENABLED_ 1
#endif
#endif

/* The parent of a context that has none. */
#define CRAU_NO_PARENT ((uintptr_t)-1)

/* A key with its value: an element of the arrays passed to CRAU_DATA and
 * CRAU_NEW_CONTEXT_WITH_DATA. Initialise it with CRAU_WORD, CRAU_STRING or
 * CRAU_BLOB: the meaning of value depends on size. */
struct crau_item {
	const char *key;
	const void *value;
	unsigned long size;
};

/* Values of crau_item.size with a special meaning. */
#define CRAU_SIZE_WORD   (~1UL) /* value is the word itself */
#define CRAU_SIZE_STRING (~0UL) /* value points to a NUL-terminated string */

/* The largest number of elements per probe; tracers ignore the others. */
#define CRAU_MAX_ITEMS 16

/* Initialisers for struct crau_item. */
#define CRAU_WORD(key, value) \
	{ (key), (const void *)(uintptr_t)(value), CRAU_SIZE_WORD }
#define CRAU_STRING(key, value) \
	{ (key), (const void *)(value), CRAU_SIZE_STRING }
#define CRAU_BLOB(key, value, size) \
	{ (key), (const void *)(value), (unsigned long)(size) }

#define CRAU_COUNT_(array) (sizeof(array) / sizeof((array)[0]))

/* Rejects lists of more than CRAU_MAX_ITEMS elements at compile time. */
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
/* Another architecture, or a GCC before 8: SystemTap's header supports all of
 * them, with one nop per site. */
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
 * crau_enabled() is false while no tracer is attached, so that a publisher can
 * skip the work of preparing a probe's arguments. The macros check it themselves.
 *
 * The kernel increments the semaphore before it arms the first site and
 * decrements it after it has disarmed the last, in every process that maps the
 * file, also in those that map it later. All sites of a shared object (or program)
 * share one semaphore, so that one check is enough for all probes. It has the
 * attribute "used" because only the notes refer to it, which the compiler does
 * not see.
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
 * The note of the site at the local label 990, in the format of SystemTap's
 * documentation of user-space probes (type 3, name "stapsdt"): address,
 * link-time address of .stapsdt.base (from which a tracer computes how far a
 * prelinker moved the file), semaphore, provider, probe, argument
 * specifications. "?" puts the note into the section group of the code, if there
 * is one, so that the linker drops both together.
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
 * Each site is a function, one per probe and object file:
 *
 *   +0   nop          the address in the note; works with every tracer
 *   +1   nopw (10)    newer kernels replace it by a call, which avoids the trap
 *   +11  ret
 *   +12  nopl n(%rax) never executed
 *
 * Linux 6.18 to 7.1 replace a five-byte nop by a call. The site contains none, on
 * purpose: the call and its trampoline write 32 bytes below the stack pointer,
 * where a leaf function keeps live data (the red zone); and a forked child
 * inherits the call but not the trampoline, and crashes. Later kernels replace the
 * ten-byte nop, skip the red zone, and copy the trampoline to children. Earlier
 * kernels refuse a probe on the ten-byte nop. On both, a probe on the one-byte nop
 * works, at the cost of a trap (0.43 instead of 0.32 us per hit).
 *
 * The function determines where the arguments are: in the registers of the psABI,
 * not in memory operands that the optimiser chose and that a tracer may read
 * incorrectly or not at all. It also reduces the number of sites, which makes
 * attaching fast, keeps the callers small, and leaves no data below the stack
 * pointer that a tracer could overwrite: its callers are not leaf functions, and a
 * naked function has no frame. Call and return take 1 ns, and only while a tracer
 * is attached (see crau_enabled).
 *
 * The alignment keeps the nops in one page, which the kernel requires. The nop
 * after the return differs for each probe, so that a linker that folds identical
 * functions does not merge the sites of two probes. noipa (with Clang: naked)
 * prevents optimisers from dropping parameters that no code seems to read.
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

/* "inline" prevents GCC from emitting functions that a file does not use; GCC
 * warns that the other attributes prevent inlining. */
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

/* Makes the compiler store the data that a pointer refers to before the site
 * runs, although no code that it sees reads them. */
#define CRAU_ESCAPE_(pointer) \
	__asm__ __volatile__("" : : "r"((const void *)(pointer)) : "memory")

#define CRAU_SITE2_(probe, a, b) crau_site_##probe(a, b)
#define CRAU_SITE3_(probe, a, b, c) crau_site_##probe(a, b, c)
#define CRAU_SITE4_(probe, a, b, c, d) crau_site_##probe(a, b, c, d)
#else
/* One nop per use, with the arguments in registers that the compiler chooses. */
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
 * The probes. These functions do not check for a tracer; the macros below do.
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

/* These evaluate their arguments only while a tracer is attached. */
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

/* An operand that is never evaluated, rather than nothing, so that a build
 * without probes checks the arguments as a build with probes does. It is an
 * expression: for a statement some compilers emit a jump without optimisation. */
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
