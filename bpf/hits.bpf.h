/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The counters of hits, which the objects with uprobe programs share. */
#ifndef CRAU_HITS_BPF_H
#define CRAU_HITS_BPF_H

#include "ring.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, LOSS_REASONS);
	__type(key, __u32);
	__type(value, struct loss);
} losses SEC(".maps");

/* Hits, including lost ones. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} hits SEC(".maps");

static __always_inline void count_loss(__u32 reason, __u64 events)
{
	struct loss *loss = bpf_map_lookup_elem(&losses, &reason);

	if (loss) {
		__sync_fetch_and_add(&loss->hits, 1);
		/*
		 * Using the result makes it a full barrier: either the agent reads
		 * the new counter, or lossy is set again.
		 */
		__u64 before = __sync_fetch_and_add(&loss->events, events);

		barrier_var(before);
		if (!*(volatile __u64 *)&control.lossy)
			*(volatile __u64 *)&control.lossy = 1;
	}
}

/*
 * Counts a hit, once, after its record was reserved or refused. Using the result
 * of the addition makes it a full barrier: see wake_flags.
 */
static __always_inline void count_hit(void)
{
	__u32 zero = 0;
	__u64 *seen = bpf_map_lookup_elem(&hits, &zero);

	if (seen) {
		__u64 before = __sync_fetch_and_add(seen, 1);

		barrier_var(before);
	}
}

#endif /* CRAU_HITS_BPF_H */
