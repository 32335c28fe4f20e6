/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A publisher counts its hits in a file, which a test can map while the publisher
 * runs, and read after it has exited.
 *
 * The file is little-endian, its fields 64 bits wide: struct counts_header,
 * zeros up to COUNTS_SLOT_OFFSET, then COUNTS_SLOTS times struct counts_slot.
 * Each thread and each forked child has its own slot, so that counting is a
 * plain store; a total is the sum over the slots.
 *
 * A slot counts a hit as begun before the probe's site runs and as done after
 * it. After SIGKILL, begun - done is at most 1 per slot: the one hit of which it
 * is unknown whether the kernel saw it.
 */

#ifndef COUNTS_H
#define COUNTS_H

#include <stdint.h>

#define COUNTS_MAGIC 0x31544e4355415243ULL /* "CRAUCNT1" */
#define COUNTS_SLOT_OFFSET 4096
#define COUNTS_SLOT_SIZE 256
#define COUNTS_SLOTS 1024

/* The probes, in the order of every per-probe array. */
enum probe {
	PROBE_NEW_CONTEXT,
	PROBE_WORD_DATA,
	PROBE_STRING_DATA,
	PROBE_BLOB_DATA,
	PROBE_DATA,
	PROBE_NEW_CONTEXT_WITH_DATA,
	PROBES,
};

enum counts_state {
	STATE_STARTING = 0,
	STATE_WAITING = 1, /* at the start gate */
	STATE_FIRING = 2,
	STATE_DONE = 3, /* has fired everything */
};

struct counts_header {
	uint64_t magic;      /* written last: if it is set, the rest is valid */
	uint64_t pid;        /* of the publisher's first process */
	uint64_t state;      /* enum counts_state */
	uint64_t slots_used; /* slots [0, slots_used) may be non-zero */
	uint64_t operations; /* repetitions: handshakes, starts or rounds */
	/* Set only by the program "fresh", just before its only hit. */
	uint64_t pages_checked;  /* pages with a literal of that hit */
	uint64_t pages_unmapped; /* pages of these not in the page table */
	uint64_t pages_uncached; /* pages of these also not in the page cache */
};

struct counts_slot {
	uint64_t owner;         /* process << 32 | thread, 0 if never used */
	uint64_t begun[PROBES]; /* hits, counted before the site */
	uint64_t done[PROBES];  /* hits, counted after it */
	/* Values passed to the probes of these hits: one for a word, string or
	 * blob, the length of an array, none for new_context. */
	uint64_t values_begun;
	uint64_t values_done;
	uint64_t unused[COUNTS_SLOT_SIZE / 8 - 3 - 2 * PROBES];
};

extern struct counts_header *counts;

/* counts_open creates or truncates the file and maps it; with path NULL it maps
 * memory that forked children share. A failure ends the program. */
void counts_open(const char *path);

/* counts_reopen maps the file of the program that executed this one and keeps
 * its counts; with path NULL it is counts_open. */
void counts_reopen(const char *path);

/* counts_slot returns an unused slot. A forked child must call it again. */
struct counts_slot *counts_slot(void);

void counts_state(enum counts_state state);

/* The program's total over all slots. */
struct counts_totals {
	uint64_t hits, values;
};
struct counts_totals counts_totals(void);

/* The compiler must keep each store on its side of the site. The processor needs
 * no barrier: signals and the kernel see stores in program order. */
#define COUNTS_BARRIER() __asm__ __volatile__("" : : : "memory")

static inline void counts_begin(struct counts_slot *slot, enum probe probe,
				uint64_t values)
{
	slot->begun[probe]++;
	slot->values_begun += values;
	COUNTS_BARRIER();
}

static inline void counts_end(struct counts_slot *slot, enum probe probe,
			      uint64_t values)
{
	COUNTS_BARRIER();
	slot->done[probe]++;
	slot->values_done += values;
}

#endif
