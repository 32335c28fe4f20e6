/* SPDX-License-Identifier: Apache-2.0 */

/* Fires each probe with arguments that an optimiser is most likely to lose: arrays
 * and strings on the stack, written just before and again just after. Prints
 * "ready", waits for a byte, fires, and prints the value of crau_enabled(). */

#include <stdio.h>
#include <string.h>

#include "crau/crau.h"

static void fire(int seed)
{
	char key[16], text[16];

	CRAU_NEW_CONTEXT(1000 + seed, CRAU_NO_PARENT);

	memcpy(key, "word::key", 10);
	CRAU_WORD_DATA(1001 + seed, key, -5 - seed);

	memcpy(key, "string::key", 12);
	memcpy(text, "string text", 12);
	CRAU_STRING_DATA(1002 + seed, key, text);

	memcpy(key, "blob::key", 10);
	memcpy(text, "blob\0text!!", 12);
	CRAU_BLOB_DATA(1003 + seed, key, text, 12 + seed);

	memcpy(key, "array::key", 11);
	CRAU_DATAV(1004 + seed, CRAU_WORD(key, 77 + seed));

	memcpy(key, "context::key", 13);
	CRAU_NEW_CONTEXT_WITH_DATAV(1005 + seed, 1004 + seed,
				    CRAU_WORD(key, 78 + seed));
	memset(key, 'x', sizeof(key));
	memset(text, 'x', sizeof(text));
}

int main(int argc, char **argv)
{
	(void)argv;
	puts("ready");
	fflush(stdout);
	getchar();
	fire(argc - 1);
	printf("%d\n", crau_enabled());
	return 0;
}
