/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Sites as in libraries that use SystemTap's header: an inline one-byte nop, with
 * arguments wherever the compiler has them (register, memory operand, constant).
 * Uses <sys/sdt.h> if it is installed and PLAIN_OWN is not defined, else
 * equivalent assembly.
 */

#ifndef PLAIN_H
#define PLAIN_H

#if defined(__has_include) && !defined(PLAIN_OWN)
#if __has_include(<sys/sdt.h>)
#include <sys/sdt.h>
#define PLAIN_SDT 1
#endif
#endif

#ifdef PLAIN_SDT
#define PLAIN_SITE2(probe, a, b) \
	STAP_PROBE2(crypto_auditing, probe, a, b)
#define PLAIN_SITE3(probe, a, b, c) \
	STAP_PROBE3(crypto_auditing, probe, a, b, c)
#define PLAIN_SITE4(probe, a, b, c, d) \
	STAP_PROBE4(crypto_auditing, probe, a, b, c, d)
#else
#define PLAIN_NOTE(probe, specs)                                            \
	"990: nop\n"                                                        \
	".pushsection .note.stapsdt,\"?\",\"note\"\n"                       \
	".balign 4\n"                                                       \
	".4byte 992f-991f, 994f-993f, 3\n"                                  \
	"991: .asciz \"stapsdt\"\n"                                         \
	"992: .balign 4\n"                                                  \
	"993: .8byte 990b, _.stapsdt.base, 0\n"                             \
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
#define PLAIN_SITE2(probe, a, b)                                            \
	__asm__ __volatile__(PLAIN_NOTE(probe, "8@%0 8@%1") : : "nor"(a), "nor"(b))
#define PLAIN_SITE3(probe, a, b, c)                                         \
	__asm__ __volatile__(PLAIN_NOTE(probe, "8@%0 8@%1 8@%2")            \
			     : : "nor"(a), "nor"(b), "nor"(c))
#define PLAIN_SITE4(probe, a, b, c, d)                                      \
	__asm__ __volatile__(PLAIN_NOTE(probe, "8@%0 8@%1 8@%2 8@%3")       \
			     : : "nor"(a), "nor"(b), "nor"(c), "nor"(d))
#endif

#endif
