// SPDX-License-Identifier: Apache-2.0

/* Fires a recorded handshake through real probes; see README.md. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "fire.h"
#include "publisher.h"

/* The maximum number of contexts of a trace with --fresh-ids, so that the ids of
 * two handshakes do not overlap. */
#define FRESH_STRIDE 64

static const char help[] =
"Usage: replay [OPTIONS] TRACE\n"
"Fires the handshake recorded in TRACE through real probes.\n"
"\n"
"  --count N         handshakes per thread (default 1)\n"
"  --duration S      go on for S seconds instead\n"
"  --rate HITS       hits per second, over all threads (default 0: no limit)\n"
"  --threads N       so many threads at once (default 1)\n"
"  --fresh-ids       new context ids for every handshake, not the recorded ones\n"
"  --site crau|sdt   sites of the publisher header, or plain nops (default crau)\n"
"  --library FILE    use the sites in FILE (a libreplay) instead of the program's own\n"
"  --whole           also what precedes the first handshake in the trace\n"
"  --counts FILE     count hits and values in FILE\n"
"  --wait            start when a byte arrives on standard input\n"
"  --wait-file FILE  start when FILE exists\n"
"  --commands        take \"run N\" (handshakes) from standard input\n";

struct replay {
	struct trace trace;
	fire_trace_function *fire;
	enum site site;
	bool fresh_ids;
	uint64_t count;    /* handshakes, 0: as long as duration */
	uint64_t duration; /* ns */
	uint64_t interval; /* ns between handshakes of one thread, 0: none */
};

struct player {
	const struct replay *replay;
	struct counts_slot *slot;
	uint64_t number; /* of the thread */
	uint64_t played; /* handshakes */
	uintptr_t *ids;
};

static void player_init(struct player *player, const struct replay *replay,
			uint64_t number)
{
	player->replay = replay;
	player->slot = counts_slot();
	player->number = number;
	player->played = 0;
	player->ids = calloc(replay->trace.contexts_length, sizeof(uintptr_t));
	if (player->ids == NULL)
		die("cannot allocate memory for context ids");
	memcpy(player->ids, replay->trace.contexts,
	       replay->trace.contexts_length * sizeof(uintptr_t));
}

static inline void play(struct player *player)
{
	const struct replay *replay = player->replay;

	if (replay->fresh_ids)
		for (size_t i = 0; i < replay->trace.contexts_length; i++)
			player->ids[i] = ((player->number + 1) << 48) +
				player->played * FRESH_STRIDE + i;
	replay->fire(&replay->trace, player->ids, player->slot, replay->site,
		     player->played);
	player->played++;
}

static void *play_all(void *data)
{
	struct player *player = data;
	const struct replay *replay = player->replay;
	uint64_t start = clock_ns();
	uint64_t end = start + replay->duration;

	/* A hit takes a microsecond; the default timer slack is fifty. */
	prctl(PR_SET_TIMERSLACK, 1);
	while (replay->count > 0 ? player->played < replay->count :
				   clock_ns() < end) {
		if (replay->interval > 0)
			sleep_until(start + player->played * replay->interval);
		play(player);
	}
	__atomic_fetch_add(&counts->operations, player->played, __ATOMIC_RELAXED);
	return NULL;
}

static void play_n(uint64_t n, void *data)
{
	struct player *player = data;

	for (uint64_t i = 0; i < n; i++)
		play(player);
	counts->operations += n;
}

static void play_threads(const struct replay *replay, uint64_t threads)
{
	struct player *players = calloc(threads, sizeof(*players));
	pthread_t *ids = calloc(threads, sizeof(*ids));

	if (players == NULL || ids == NULL)
		die("cannot allocate memory for threads");
	/* With one thread, use only the main thread and the first slot: a tracer that
	 * follows a single thread then sees everything. */
	for (uint64_t i = 0; i < threads; i++)
		player_init(&players[i], replay, i);
	for (uint64_t i = 1; i < threads; i++) {
		int error = pthread_create(&ids[i], NULL, play_all, &players[i]);
		if (error != 0)
			die("cannot start a thread: %s", strerror(error));
	}
	play_all(&players[0]);
	for (uint64_t i = 1; i < threads; i++)
		pthread_join(ids[i], NULL);
}

static fire_trace_function *load(const char *path)
{
	void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);

	if (library == NULL)
		die("cannot load library: %s", dlerror());
	fire_trace_function *fire;
	*(void **)&fire = dlsym(library, "fire_trace");
	if (fire == NULL)
		die("cannot use library %s: it is not a libreplay", path);
	return fire;
}

int main(int argc, char **argv)
{
	enum { COUNT = 1, DURATION, RATE, THREADS, FRESH, SITE, LIBRARY, WHOLE,
	       COMMANDS };
	static const struct option options[] = {
		{ "count", required_argument, NULL, COUNT },
		{ "duration", required_argument, NULL, DURATION },
		{ "rate", required_argument, NULL, RATE },
		{ "threads", required_argument, NULL, THREADS },
		{ "fresh-ids", no_argument, NULL, FRESH },
		{ "site", required_argument, NULL, SITE },
		{ "library", required_argument, NULL, LIBRARY },
		{ "whole", no_argument, NULL, WHOLE },
		{ "commands", no_argument, NULL, COMMANDS },
		COMMON_OPTIONS,
	};
	struct replay replay = { .fire = fire_trace, .site = SITE_CRAU, .count = 1 };
	struct common common = { 0 };
	const char *library = NULL;
	uint64_t rate = 0, threads = 1;
	bool whole = false, commands = false;
	int option;

	while ((option = next_option(argc, argv, options, help, &common)) != -1) {
		switch (option) {
		case COUNT:
			replay.count = parse_number("--count", optarg, 1, UINT32_MAX);
			break;
		case DURATION:
			replay.duration = 1000000000 *
				parse_number("--duration", optarg, 1, 86400);
			replay.count = 0;
			break;
		case RATE:
			rate = parse_number("--rate", optarg, 0, 100000000);
			break;
		case THREADS:
			threads = parse_number("--threads", optarg, 1, COUNTS_SLOTS);
			break;
		case FRESH:
			replay.fresh_ids = true;
			break;
		case SITE:
			if (strcmp(optarg, "crau") == 0)
				replay.site = SITE_CRAU;
			else if (strcmp(optarg, "sdt") == 0)
				replay.site = SITE_SDT;
			else
				usage_error("--site %s: must be crau or sdt",
					    optarg);
			break;
		case LIBRARY:
			library = optarg;
			break;
		case WHOLE:
			whole = true;
			break;
		case COMMANDS:
			commands = true;
			break;
		}
	}
	if (optind != argc - 1)
		usage_error("exactly one TRACE is required");
	if (commands && (threads > 1 || rate > 0 || common.gate.standard_input))
		usage_error("--commands cannot be combined with --threads, --rate or --wait");

	trace_read(&replay.trace, argv[optind], whole);
	if (replay.fresh_ids && replay.trace.contexts_length > FRESH_STRIDE)
		die("cannot use --fresh-ids: %s has more than %d contexts", argv[optind],
		    FRESH_STRIDE);
	if (library != NULL)
		replay.fire = load(library);
	if (rate > 0)
		replay.interval = 1000000000 * threads * replay.trace.length / rate;
	counts_open(common.counts);
	gate_pass(&common.gate);
	counts_state(STATE_FIRING);
	if (commands) {
		struct player player;

		player_init(&player, &replay, 0);
		command_loop(play_n, &player);
	} else {
		play_threads(&replay, threads);
	}
	counts_state(STATE_DONE);
	struct counts_totals totals = counts_totals();
	printf("hits %" PRIu64 " values %" PRIu64 "\n", totals.hits, totals.values);
	return 0;
}
