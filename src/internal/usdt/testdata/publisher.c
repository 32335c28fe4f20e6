/* SPDX-License-Identifier: Apache-2.0 */
/* Fires probes whose arguments compilers place in many ways: every width and
   sign, constants, registers, the stack, arrays. ptrace_amd64_test.go has the
   expected values. */
#define SDT_USE_VARIADIC
#include <sys/sdt.h>

#define NOINLINE __attribute__((noinline))

struct element {
	const char *key;
	void *value;
	unsigned long size;
};

NOINLINE static void widths(signed char a, unsigned char b, short c,
			    unsigned short d, int e, unsigned int f, long g,
			    unsigned long h)
{
	STAP_PROBE8(crypto_auditing, widths, a, b, c, d, e, f, g, h);
}

NOINLINE static void constants(void)
{
	STAP_PROBE8(crypto_auditing, constants, (signed char)-1,
		    (unsigned char)200, (short)-300, (unsigned short)60000, -4,
		    0xfffffff0u, -1L, 0xfffffffffffffff0ul);
}

NOINLINE static void twelve(const long *v)
{
	long a = v[0] + 1, b = v[1] + 1, c = v[2] + 1, d = v[3] + 1;
	long e = v[4] + 1, f = v[5] + 1, g = v[6] + 1, h = v[7] + 1;
	long i = v[8] + 1, j = v[9] + 1, k = v[10] + 1, l = v[11] + 1;

	STAP_PROBE12(crypto_auditing, twelve, a, b, c, d, e, f, g, h, i, j, k,
		     l);
}

NOINLINE static void elements(const struct element *e, unsigned long n)
{
	for (unsigned long i = 0; i < n; i++)
		STAP_PROBE3(crypto_auditing, elements, i, e[i].size,
			    (int)e[i].key[0]);
}

NOINLINE static void indexed(const long *v, const int *w,
			     const signed char *x, unsigned long n)
{
	for (unsigned long i = 0; i < n; i++)
		STAP_PROBE3(crypto_auditing, indexed, v[i], w[i], x[i]);
}

NOINLINE static void leaf(long a, long b)
{
	long volatile spare[4] = { a, b, a + b, a - b };

	STAP_PROBE4(crypto_auditing, leaf, spare[0], spare[1], spare[2],
		    spare[3]);
}

NOINLINE static void two_sites(int which)
{
	if (which)
		STAP_PROBE2(crypto_auditing, two_sites, which, 1L);
	else
		STAP_PROBE2(crypto_auditing, two_sites, which, 2L);
}

NOINLINE static void pointers(const char *text, const struct element *e)
{
	STAP_PROBE3(crypto_auditing, pointers, text, &e[1], e[1].value);
}

int main(void)
{
	static const long longs[12] = { -1, 1, -2, 2, 1l << 40, -(1l << 40), 6,
					7, 8, 9, 10, 11 };
	static const int ints[3] = { -5, 0, 70000 };
	static const signed char chars[3] = { -128, 0, 127 };
	static const struct element array[3] = {
		{ "a", (void *)11, -2ul },
		{ "b", (void *)12, -1ul },
		{ "c", (void *)13, 33 },
	};

	widths(-128, 255, -32768, 65535, -2147483647 - 1, 4294967295u,
	       -9223372036854775807l - 1, 18446744073709551615ul);
	widths(1, 2, 3, 4, 5, 6, 7, 8);
	constants();
	twelve(longs);
	elements(array, 3);
	indexed(longs, ints, chars, 3);
	leaf(40, 2);
	two_sites(1);
	two_sites(0);
	pointers((const char *)0, (const struct element *)array);
	return 0;
}
