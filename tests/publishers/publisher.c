// SPDX-License-Identifier: Apache-2.0

#define _GNU_SOURCE
#include "publisher.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "counts.h"

_Static_assert(sizeof(struct counts_slot) == COUNTS_SLOT_SIZE, "slot size");
_Static_assert(sizeof(struct counts_header) <= COUNTS_SLOT_OFFSET, "header size");

struct counts_header *counts;

void die(const char *format, ...)
{
	va_list arguments;

	fflush(stdout);
	fprintf(stderr, "%s: ", program_invocation_short_name);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	_exit(1);
}

void usage_error(const char *format, ...)
{
	va_list arguments;

	fprintf(stderr, "%s: ", program_invocation_short_name);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fprintf(stderr, "\nTry '%s --help'.\n", program_invocation_short_name);
	exit(2);
}

uint64_t parse_number(const char *option, const char *text, uint64_t least,
		      uint64_t most)
{
	char *end;

	errno = 0;
	uint64_t n = strtoull(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' || *text == '-' ||
	    n < least || n > most)
		usage_error("%s %s: not a number from %" PRIu64 " to %" PRIu64,
			    option, text, least, most);
	return n;
}

int next_option(int argc, char **argv, const struct option *options,
		const char *help, struct common *common)
{
	for (;;) {
		int option = getopt_long(argc, argv, "", options, NULL);

		switch (option) {
		case OPTION_COUNTS:
			common->counts = optarg;
			break;
		case OPTION_WAIT:
			common->gate.standard_input = true;
			break;
		case OPTION_WAIT_FILE:
			common->gate.file = optarg;
			break;
		case OPTION_HELP:
			fputs(help, stdout);
			exit(0);
		case '?':
			usage_error("cannot understand the options");
		default:
			return option;
		}
	}
}

static void counts_map(const char *path, int open_flags)
{
	const size_t size = COUNTS_SLOT_OFFSET + COUNTS_SLOTS * COUNTS_SLOT_SIZE;
	int fd = -1;
	int flags = MAP_SHARED | MAP_POPULATE;

	if (path == NULL) {
		flags |= MAP_ANONYMOUS;
	} else {
		fd = open(path, open_flags | O_RDWR | O_CLOEXEC, 0644);
		if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
			die("cannot open counts file %s: %s", path,
			    strerror(errno));
	}
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, fd, 0);
	if (memory == MAP_FAILED)
		die("cannot map counts file %s: %s", path ? path : "(none)",
		    strerror(errno));
	if (fd >= 0)
		close(fd);
	counts = memory;
}

void counts_open(const char *path)
{
	counts_map(path, O_CREAT | O_TRUNC);
	counts->pid = (uint64_t)getpid();
	__atomic_store_n(&counts->magic, COUNTS_MAGIC, __ATOMIC_RELEASE);
}

void counts_reopen(const char *path)
{
	if (path == NULL) {
		counts_open(NULL);
		return;
	}
	counts_map(path, 0);
	if (counts->magic != COUNTS_MAGIC)
		die("cannot reopen %s: it is not a counts file", path);
}

static struct counts_slot *slot_at(uint64_t i)
{
	return (struct counts_slot *)((char *)counts + COUNTS_SLOT_OFFSET) + i;
}

struct counts_slot *counts_slot(void)
{
	uint64_t i = __atomic_fetch_add(&counts->slots_used, 1, __ATOMIC_RELAXED);

	if (i >= COUNTS_SLOTS)
		die("cannot count more than %d threads and processes",
		    COUNTS_SLOTS);
	slot_at(i)->owner = (uint64_t)getpid() << 32 | (uint32_t)gettid();
	return slot_at(i);
}

void counts_state(enum counts_state state)
{
	__atomic_store_n(&counts->state, state, __ATOMIC_RELEASE);
}

struct counts_totals counts_totals(void)
{
	struct counts_totals totals = { 0, 0 };

	for (uint64_t i = 0; i < counts->slots_used && i < COUNTS_SLOTS; i++) {
		for (int probe = 0; probe < PROBES; probe++)
			totals.hits += slot_at(i)->done[probe];
		totals.values += slot_at(i)->values_done;
	}
	return totals;
}

void gate_pass(const struct gate *gate)
{
	char byte;

	if (!gate->standard_input && gate->file == NULL)
		return;
	counts_state(STATE_WAITING);
	printf("ready %d\n", getpid());
	fflush(stdout);
	if (gate->standard_input)
		while (read(STDIN_FILENO, &byte, 1) < 0 && errno == EINTR)
			;
	while (gate->file != NULL && access(gate->file, F_OK) != 0)
		usleep(1000);
}

static uint64_t clock_value(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

uint64_t clock_ns(void)
{
	return clock_value(CLOCK_MONOTONIC);
}

uint64_t cpu_ns(void)
{
	return clock_value(CLOCK_PROCESS_CPUTIME_ID);
}

void sleep_until(uint64_t ns)
{
	struct timespec t = {
		.tv_sec = (time_t)(ns / 1000000000),
		.tv_nsec = (long)(ns % 1000000000),
	};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
		;
}

void command_loop(void (*run)(uint64_t n, void *data), void *data)
{
	char line[64];

	printf("ready %d\n", getpid());
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin) != NULL) {
		uint64_t n;
		char rest;

		if (strcmp(line, "quit\n") == 0)
			return;
		if (sscanf(line, "run %" SCNu64 "%c", &n, &rest) != 2 || rest != '\n')
			die("cannot understand command %s"
			    "(want \"run N\" or \"quit\")", line);
		struct counts_totals before = counts_totals();
		uint64_t cpu = cpu_ns();
		uint64_t wall = clock_ns();
		run(n, data);
		wall = clock_ns() - wall;
		cpu = cpu_ns() - cpu;
		struct counts_totals after = counts_totals();
		printf("cpu_us %" PRIu64 " wall_us %" PRIu64 " hits %" PRIu64
		       " values %" PRIu64 "\n", cpu / 1000, wall / 1000,
		       after.hits - before.hits, after.values - before.values);
		fflush(stdout);
	}
}
