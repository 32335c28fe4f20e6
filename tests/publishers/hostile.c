// SPDX-License-Identifier: Apache-2.0

/* Fires probes as no well-behaved library would; see README.md. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "counts.h"
#include "crau/macros.h"
#include "publisher.h"

static const char help[] =
"Usage: hostile MODE [OPTIONS]\n"
"Fires probes no listener can like.\n"
"\n"
"Modes:\n"
"  --flood           garbage at full speed: random pointers, counts, sizes and ids\n"
"  --bulk            the longest records at full speed, incompressible\n"
"  --userfaultfd     strings and arrays on a page that never arrives\n"
"  --deep            every context the child of the one before\n"
"  --fork            children that go on with their parent's context ids\n"
"  --exec            programs that follow each other in one process, with the\n"
"                    same context ids\n"
"\n"
"Options:\n"
"  --count N         hits per thread, contexts, children or programs (default 1000;\n"
"                    --fork and --exec 10)\n"
"  --duration S      for S seconds instead (--flood, --bulk, --userfaultfd)\n"
"  --threads N       so many threads at once (--flood)\n"
"  --user N          become the user N before the first hit\n"
"  --seed N          of what is random (default 1)\n"
"  --linger          stay until standard input ends, pages still missing\n"
"  --counts FILE     count hits and values in FILE\n"
"  --wait            start when a byte arrives on standard input\n"
"  --wait-file FILE  start when FILE exists\n";

struct hostile {
	uint64_t count;    /* 0: as long as duration */
	uint64_t duration; /* ns */
	uint64_t threads, seed;
};

/* A loop with a duration reads the clock once per this number of hits. */
#define HITS_PER_LOOK 256

static uint64_t values_of(uint64_t count)
{
	return count < CRAU_MAX_ITEMS ? count : CRAU_MAX_ITEMS;
}

/* Marsaglia's xorshift64*. */
static uint64_t random_word(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545f4914f6cdd1dULL;
}

struct flooder {
	const struct hostile *hostile;
	struct counts_slot *slot;
	uint64_t random;
	char *page; /* readable; the next page is not mapped */
	size_t page_size;
};

/* Returns a random pointer, often to mapped memory, so that reading garbage does
 * not always fail at once. */
static void *random_pointer(struct flooder *flooder)
{
	uint64_t word = random_word(&flooder->random);

	switch (word % 8) {
	case 0:
	case 1:
	case 2:
		return flooder->page + (word >> 8) % flooder->page_size;
	case 3: /* across the end of the page */
		return flooder->page + flooder->page_size - (word >> 8) % 64;
	case 4:
		return NULL;
	case 5: /* the kernel's half */
		return (void *)(word | (uint64_t)1 << 63);
	case 6: /* user space */
		return (void *)(word >> 17);
	default:
		return (void *)word;
	}
}

static uint64_t random_count(struct flooder *flooder)
{
	uint64_t word = random_word(&flooder->random);

	return word % 8 < 7 ? (word >> 8) % 18 : word;
}

static void flood_once(struct flooder *flooder)
{
	uint64_t *random = &flooder->random;
	/* Few contexts, so that they are used repeatedly, including 0 and -1. */
	uintptr_t context = random_word(random) % 64 - 1;
	uintptr_t parent = random_word(random) % 64 - 1;
	enum probe probe = random_word(random) % PROBES;
	struct crau_item items[CRAU_MAX_ITEMS + 1];
	const struct crau_item *array = items;
	uint64_t count = random_count(flooder);

	if (random_word(random) % 4 == 0)
		array = random_pointer(flooder);
	for (size_t i = 0; i < sizeof(items) / sizeof(items[0]); i++) {
		uint64_t word = random_word(random);

		items[i].key = random_pointer(flooder);
		items[i].value = random_pointer(flooder);
		items[i].size = word % 4 == 0 ? word : word % 4 == 1 ?
			CRAU_SIZE_STRING : word % 4 == 2 ? CRAU_SIZE_WORD :
			(word >> 8) % 8192;
	}

	uint64_t values = probe == PROBE_NEW_CONTEXT ? 0 :
		probe < PROBE_DATA ? 1 : values_of(count);
	counts_begin(flooder->slot, probe, values);
	switch (probe) {
	case PROBE_NEW_CONTEXT:
		crau_fire_new_context(context, parent);
		break;
	case PROBE_WORD_DATA:
		crau_fire_word_data(context, items[0].key,
				    (uintptr_t)items[0].value);
		break;
	case PROBE_STRING_DATA:
		crau_fire_string_data(context, items[0].key, items[0].value);
		break;
	case PROBE_BLOB_DATA:
		crau_fire_blob_data(context, items[0].key, items[0].value,
				    items[0].size);
		break;
	case PROBE_DATA:
		crau_fire_data(context, array, count);
		break;
	default:
		crau_fire_new_context_with_data(context, parent, array, count);
		break;
	}
	counts_end(flooder->slot, probe, values);
}

/* Calls once repeatedly, for the given count or duration. */
static void repeat(const struct hostile *hostile, void (*once)(void *), void *data)
{
	uint64_t end = clock_ns() + hostile->duration;

	for (uint64_t i = 0; hostile->count == 0 || i < hostile->count; i++) {
		if (hostile->count == 0 && i % HITS_PER_LOOK == 0 &&
		    clock_ns() >= end)
			break;
		once(data);
	}
}

static void flood_step(void *data)
{
	flood_once(data);
}

static void *flood_thread(void *data)
{
	struct flooder *flooder = data;

	repeat(flooder->hostile, flood_step, flooder);
	return NULL;
}

/* Maps a page that is followed by an unmapped one. */
static char *map_page(size_t page_size)
{
	char *page = mmap(NULL, 2 * page_size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED || munmap(page + page_size, page_size) < 0)
		die("cannot map memory: %s", strerror(errno));
	return page;
}

static void flood(const struct hostile *hostile)
{
	size_t page_size = (size_t)sysconf(_SC_PAGESIZE);
	struct flooder *flooders = calloc(hostile->threads, sizeof(*flooders));
	pthread_t *threads = calloc(hostile->threads, sizeof(*threads));
	char *page = map_page(page_size);
	uint64_t random = hostile->seed;

	if (flooders == NULL || threads == NULL)
		die("cannot allocate memory for threads");
	for (size_t i = 0; i < page_size; i++)
		page[i] = (char)(random_word(&random) >> 56);
	for (uint64_t i = 0; i < hostile->threads; i++) {
		struct flooder flooder = {
			.hostile = hostile,
			.slot = counts_slot(),
			.random = hostile->seed * 2654435761 + i + 1,
			.page = page,
			.page_size = page_size,
		};
		flooders[i] = flooder;
	}
	for (uint64_t i = 1; i < hostile->threads; i++) {
		int error = pthread_create(&threads[i], NULL, flood_thread,
					   &flooders[i]);
		if (error != 0)
			die("cannot start a thread: %s", strerror(error));
	}
	flood_thread(&flooders[0]);
	for (uint64_t i = 1; i < hostile->threads; i++)
		pthread_join(threads[i], NULL);
}

/* Returns a page that is registered with userfaultfd and whose faults no thread
 * handles: a thread that touches it waits until this process exits. */
static char *missing_page(void)
{
	size_t page_size = (size_t)sysconf(_SC_PAGESIZE);
	long fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	/* Without privilege only faults of user code can be handled. */
	if (fd < 0 && errno == EPERM)
		fd = syscall(SYS_userfaultfd,
			     O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
	if (fd < 0)
		die("cannot use userfaultfd: %s", strerror(errno));
	struct uffdio_api api = { .api = UFFD_API };
	if (ioctl((int)fd, UFFDIO_API, &api) < 0)
		die("cannot use userfaultfd: %s", strerror(errno));
	char *page = map_page(page_size);
	struct uffdio_register range = {
		.range = { (uintptr_t)page, page_size },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	if (ioctl((int)fd, UFFDIO_REGISTER, &range) < 0)
		die("cannot register a page with userfaultfd: %s", strerror(errno));
	return page;
}

struct misser {
	char *page;
	struct counts_slot *slot;
	uint64_t turn;
};

/* Fires each probe in turn, with a key, a value or an array on the missing page. */
static void miss_step(void *data)
{
	struct misser *misser = data;
	const struct crau_item items[] = {
		CRAU_STRING("hostile::string", misser->page),
		CRAU_BLOB("hostile::blob", misser->page, 16),
		CRAU_WORD(misser->page, 1),
	};
	enum probe probe = PROBE_WORD_DATA + misser->turn++ % (PROBES - 1);
	bool array_missing = misser->turn % 2 == 0;
	const struct crau_item *array =
		array_missing ? (const struct crau_item *)misser->page : items;
	uint64_t values = probe < PROBE_DATA ? 1 : 3;

	counts_begin(misser->slot, probe, values);
	switch (probe) {
	case PROBE_WORD_DATA:
		crau_fire_word_data(1, misser->page, 1);
		break;
	case PROBE_STRING_DATA:
		crau_fire_string_data(1, "hostile::string", misser->page);
		break;
	case PROBE_BLOB_DATA:
		crau_fire_blob_data(1, "hostile::blob", misser->page, 16);
		break;
	case PROBE_DATA:
		crau_fire_data(1, array, 3);
		break;
	default:
		crau_fire_new_context_with_data(1, CRAU_NO_PARENT, array, 3);
		break;
	}
	counts_end(misser->slot, probe, values);
}

static void miss(const struct hostile *hostile)
{
	struct misser misser = { missing_page(), counts_slot(), 0 };

	repeat(hostile, miss_step, &misser);
}

static void fire_context(struct counts_slot *slot, uintptr_t context,
			 uintptr_t parent, const char *name, uint64_t number)
{
	const struct crau_item items[] = {
		CRAU_STRING("name", name),
		CRAU_WORD("hostile::number", number),
	};

	counts_begin(slot, PROBE_NEW_CONTEXT_WITH_DATA, 2);
	crau_fire_new_context_with_data(context, parent, items, 2);
	counts_end(slot, PROBE_NEW_CONTEXT_WITH_DATA, 2);
}

static void fire_number(struct counts_slot *slot, uintptr_t context,
			uint64_t number)
{
	const struct crau_item item = CRAU_WORD("hostile::more", number);

	counts_begin(slot, PROBE_DATA, 1);
	crau_fire_data(context, &item, 1);
	counts_end(slot, PROBE_DATA, 1);
}

/* Opens a chain of contexts, each with its number, then fires one more value for
 * each, innermost first. */
static void deep(const struct hostile *hostile)
{
	struct counts_slot *slot = counts_slot();

	for (uint64_t i = 1; i <= hostile->count; i++)
		fire_context(slot, i, i > 1 ? i - 1 : CRAU_NO_PARENT,
			     "hostile::deep", i);
	for (uint64_t i = hostile->count; i > 0; i--)
		fire_number(slot, i, i);
}

/* The parent opens context 1. Each child fires data for it, then opens context 1
 * itself, and context 2 as its child. */
static void fork_children(const struct hostile *hostile)
{
	struct counts_slot *slot = counts_slot();

	fire_context(slot, 1, CRAU_NO_PARENT, "hostile::parent", 0);
	for (uint64_t i = 1; i <= hostile->count; i++) {
		pid_t child = fork();

		if (child < 0)
			die("cannot fork: %s", strerror(errno));
		if (child == 0) {
			slot = counts_slot();
			fire_number(slot, 1, i);
			fire_context(slot, 1, CRAU_NO_PARENT, "hostile::child", i);
			fire_context(slot, 2, 1, "hostile::grandchild", i);
			_exit(0);
		}
		fire_number(slot, 1, i);
	}
	for (uint64_t i = 1; i <= hostile->count; i++) {
		int status;

		if (wait(&status) < 0)
			die("cannot wait for a child: %s", strerror(errno));
		if (status != 0)
			die("cannot finish: a child ended with status %#x",
			    (unsigned)status);
	}
}

/* Opens context 1, then executes this program again with a count reduced by one. */
static void exec_again(const struct hostile *hostile, const char *counts_path)
{
	struct counts_slot *slot = counts_slot();
	char count[24];

	fire_number(slot, 1, hostile->count); /* in the previous program's context, if any */
	fire_context(slot, 1, CRAU_NO_PARENT, "hostile::program", hostile->count);
	if (hostile->count == 1)
		return;
	snprintf(count, sizeof(count), "%" PRIu64, hostile->count - 1);
	char *arguments[] = { program_invocation_name, "--exec", "--count", count,
			      "--again", NULL, NULL, NULL };
	if (counts_path != NULL) {
		arguments[5] = "--counts";
		arguments[6] = (char *)(uintptr_t)counts_path;
	}
	fflush(stdout);
	execv("/proc/self/exe", arguments);
	die("cannot execute the program again: %s", strerror(errno));
}

/* The keys and values of --bulk are parts of a random text. */
struct bulk {
	struct counts_slot *slot;
	uint64_t random;
	char *text;
};

#define BULK_TEXT (1 << 20)
#define BULK_KEY 127
#define BULK_VALUE 511

static void bulk_step(void *data)
{
	struct bulk *bulk = data;
	static char keys[CRAU_MAX_ITEMS][BULK_KEY + 1];
	struct crau_item items[CRAU_MAX_ITEMS];

	for (size_t i = 0; i < CRAU_MAX_ITEMS; i++) {
		uint64_t word = random_word(&bulk->random);

		memcpy(keys[i], bulk->text + word % (BULK_TEXT - BULK_KEY), BULK_KEY);
		items[i].key = keys[i];
		items[i].value = bulk->text + (word >> 32) % (BULK_TEXT - BULK_VALUE);
		items[i].size = BULK_VALUE;
	}
	counts_begin(bulk->slot, PROBE_DATA, CRAU_MAX_ITEMS);
	crau_fire_data(random_word(&bulk->random) % 64 + 1, items, CRAU_MAX_ITEMS);
	counts_end(bulk->slot, PROBE_DATA, CRAU_MAX_ITEMS);
}

static void bulk(const struct hostile *hostile)
{
	struct bulk bulk = { .slot = counts_slot(), .random = hostile->seed };

	bulk.text = malloc(BULK_TEXT);
	if (!bulk.text)
		die("cannot allocate memory");
	for (size_t i = 0; i < BULK_TEXT; i++)
		bulk.text[i] = (char)(random_word(&bulk.random) % 94 + '!');
	repeat(hostile, bulk_step, &bulk);
	free(bulk.text);
}

static void linger(void)
{
	char byte;

	printf("lingering\n");
	fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
}

int main(int argc, char **argv)
{
	enum { FLOOD = 1, BULK, USERFAULTFD, DEEP, FORK, EXEC, COUNT, DURATION, THREADS,
	       SEED, USER, LINGER, AGAIN };
	static const struct option options[] = {
		{ "flood", no_argument, NULL, FLOOD },
		{ "bulk", no_argument, NULL, BULK },
		{ "userfaultfd", no_argument, NULL, USERFAULTFD },
		{ "deep", no_argument, NULL, DEEP },
		{ "fork", no_argument, NULL, FORK },
		{ "exec", no_argument, NULL, EXEC },
		{ "count", required_argument, NULL, COUNT },
		{ "duration", required_argument, NULL, DURATION },
		{ "threads", required_argument, NULL, THREADS },
		{ "seed", required_argument, NULL, SEED },
		{ "user", required_argument, NULL, USER },
		{ "linger", no_argument, NULL, LINGER },
		{ "again", no_argument, NULL, AGAIN }, /* used only by --exec */
		COMMON_OPTIONS,
	};
	struct hostile hostile = { .threads = 1, .seed = 1 };
	struct common common = { 0 };
	bool stay = false, again = false;
	uid_t user = 0;
	int mode = 0, option;

	while ((option = next_option(argc, argv, options, help, &common)) != -1) {
		switch (option) {
		case FLOOD:
		case BULK:
		case USERFAULTFD:
		case DEEP:
		case FORK:
		case EXEC:
			if (mode != 0)
				usage_error("only one MODE is allowed");
			mode = option;
			break;
		case COUNT:
			hostile.count = parse_number("--count", optarg, 1, UINT32_MAX);
			break;
		case DURATION:
			hostile.duration = 1000000000 *
				parse_number("--duration", optarg, 1, 86400);
			break;
		case THREADS:
			hostile.threads = parse_number("--threads", optarg, 1,
						       COUNTS_SLOTS);
			break;
		case SEED:
			hostile.seed = parse_number("--seed", optarg, 1, UINT32_MAX);
			break;
		case USER:
			user = (uid_t)parse_number("--user", optarg, 1, UINT32_MAX - 1);
			break;
		case LINGER:
			stay = true;
			break;
		case AGAIN:
			again = true;
			break;
		}
	}
	if (mode == 0 || optind != argc)
		usage_error("exactly one MODE is required, and no arguments");
	if (hostile.duration > 0 && mode != FLOOD && mode != BULK && mode != USERFAULTFD)
		usage_error("--duration requires --flood, --bulk or --userfaultfd");
	if (hostile.threads > 1 && mode != FLOOD)
		usage_error("--threads requires --flood");
	if (hostile.count == 0 && hostile.duration == 0)
		hostile.count = mode == FORK || mode == EXEC ? 10 : 1000;

	if (again)
		counts_reopen(common.counts);
	else
		counts_open(common.counts);
	if (user != 0 && setuid(user) < 0)
		die("cannot become user %u: %s", user, strerror(errno));
	gate_pass(&common.gate);
	counts_state(STATE_FIRING);
	switch (mode) {
	case FLOOD:
		flood(&hostile);
		break;
	case BULK:
		bulk(&hostile);
		break;
	case USERFAULTFD:
		miss(&hostile);
		break;
	case DEEP:
		deep(&hostile);
		break;
	case FORK:
		fork_children(&hostile);
		break;
	case EXEC:
		exec_again(&hostile, common.counts);
		break;
	}
	counts->operations = hostile.count;
	counts_state(STATE_DONE);
	struct counts_totals totals = counts_totals();
	printf("hits %" PRIu64 " values %" PRIu64 "\n", totals.hits, totals.values);
	if (stay)
		linger();
	return 0;
}
