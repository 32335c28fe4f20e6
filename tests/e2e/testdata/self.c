// SPDX-License-Identifier: Apache-2.0

/* For LD_PRELOAD: fires a hundred probes in the process that loads it, as soon as a
 * listener is attached, then writes their number to the file that the environment
 * variable SELF_FIRED names. */

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "crau/crau.h"

#define HITS 100

static void *fire(void *unused)
{
	const char *path = getenv("SELF_FIRED");

	(void)unused;
	while (!crau_enabled())
		usleep(1000);
	for (int i = 0; i < HITS; i++)
		crau_fire_word_data(1, "self::number", (unsigned long)i);
	FILE *file = path != NULL ? fopen(path, "we") : NULL;
	if (file != NULL) {
		fprintf(file, "%d\n", HITS);
		fclose(file);
	}
	return NULL;
}

__attribute__((constructor))
static void begin(void)
{
	pthread_t thread;
	sigset_t all, before;

	/* Signals go to the process's own threads. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pthread_create(&thread, NULL, fire, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}
