/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ring, with the rules by which programs fill it. Every object defines these
 * maps; the agent replaces them by the maps of the first object.
 */
#ifndef CRAU_RING_BPF_H
#define CRAU_RING_BPF_H

#include "audit.bpf.h"

/* The agent sets the size before loading. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 23);
} ring SEC(".maps");

/*
 * The use of the ring by processes and users, to prevent one that floods it from
 * displacing the others. A hash table of the kernel would cost several calls per
 * hit. An id belongs to one bucket. If all counters of the bucket are in use, the
 * id takes over the lowest and its count, so that ids that share a bucket
 * cannot reset each other (the Space-Saving algorithm: Metwally, Agrawal, El
 * Abbadi, "Efficient Computation of Frequent and Top-k Elements in Data
 * Streams", 2005).
 */
struct rate {
	__u64 since;	/* beginning of the period */
	__u64 bytes;
	__u64 id;
	__u64 user;	/* for a process: the state of its user at the last check, enum user_state */
};

enum user_state {
	USER_UNKNOWN,
	USER_LIGHT,
	USER_HEAVY,
	USER_OVER_LIMIT,
};

#define WAYS 4

struct bucket {
	struct rate rates[WAYS];
};

#define PROCESS_BUCKETS 2048
#define USER_BUCKETS 512
#define USER_STEP 4096

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PROCESS_BUCKETS);
	__type(key, __u32);
	__type(value, struct bucket);
} processes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, USER_BUCKETS);
	__type(key, __u32);
	__type(value, struct bucket);
} users SEC(".maps");

/* In a section, and thus a map, of its own, which the objects share. */
struct control_block control SEC(".data.control");

/*
 * The flags for submitting a record. The caller must execute a full barrier between
 * the reservation and this read of wake_at, as the reader does between its store to
 * wake_at and its read of the ring: one of the two sees the other's change.
 */
static __always_inline __u64 wake_flags(void)
{
	__u64 at = *(volatile __u64 *)&control.wake_at;

	if (at == WAKE_NEVER || bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA) < at)
		return BPF_RB_NO_WAKEUP;
	if (__sync_lock_test_and_set(&control.wake_at, WAKE_NEVER) == WAKE_NEVER)
		return BPF_RB_NO_WAKEUP;
	return BPF_RB_FORCE_WAKEUP;
}

static __always_inline int expired(const struct rate *rate, __u64 now)
{
	/* Signed: another CPU may have begun the period just after now. */
	return (__s64)(now - rate->since) >= (__s64)RATE_PERIOD;
}

/*
 * Returns the counter of an id in the present period. Two threads that begin a
 * period concurrently may lose each other's first bytes.
 */
static __always_inline struct rate *rate_of(void *map, __u32 buckets, __u32 id, __u64 now)
{
	__u32 index = (((__u64)id ^ control.seed) * 0x9e3779b97f4a7c15ULL >> 32) & (buckets - 1);
	struct bucket *bucket = bpf_map_lookup_elem(map, &index);
	/* Unused counters have the id 0. */
	__u64 wanted = (__u64)id + 1, least = ~0ULL;
	struct rate *rate;

	if (!bucket)
		return 0;
	rate = &bucket->rates[0];
#pragma unroll
	for (int i = 0; i < WAYS; i++) {
		rate = &bucket->rates[i];
		if (rate->id == wanted)
			goto found;
	}
#pragma unroll
	for (int i = 0; i < WAYS; i++) {
		struct rate *way = &bucket->rates[i];
		__u64 bytes = expired(way, now) ? 0 : way->bytes;

		if (bytes < least) {
			least = bytes;
			rate = way;
		}
	}
	rate->id = wanted;
	rate->user = USER_UNKNOWN;
found:
	if (expired(rate, now)) {
		rate->since = now;
		rate->bytes = 0;
	}
	return rate;
}

/*
 * Charges bytes to the user of a process and stores the user's state there.
 */
static __always_inline void look_at_user(struct rate *process, __u32 user_id, __u64 now, __u64 bytes)
{
	__u64 limit = *(volatile __u64 *)&control.rate_limit, taken;
	struct rate *user = rate_of(&users, USER_BUCKETS, user_id, now);

	if (!user)
		return;
	taken = __sync_fetch_and_add(&user->bytes, bytes);
	if (limit && taken >= limit * USER_SHARE)
		process->user = USER_OVER_LIMIT;
	else
		process->user = taken < control.light_bytes ? USER_LIGHT : USER_HEAVY;
}

/*
 * Returns the reason why a hit must not be written to the ring, or charges the bytes
 * and returns LOSS_REASONS. The user is charged for the first hit of a period and then
 * whenever the process has used USER_STEP: finding it at each hit would double the
 * cost of this function. The function is global, so that the verifier checks it
 * separately: inlined, its paths would multiply those of all following code.
 */
__noinline __u32 refusal(__u32 process_id, __u64 now, __u32 bytes)
{
	__u64 limit = *(volatile __u64 *)&control.rate_limit, before, full;
	struct rate *process = rate_of(&processes, PROCESS_BUCKETS, process_id, now);

	if (!process)
		return LOSS_REASONS; /* never: for the verifier */
	before = process->bytes;
	if (limit && before >= limit)
		return LOSS_RATE_LIMIT;
	if (!before || process->user == USER_UNKNOWN)
		look_at_user(process, bpf_get_current_uid_gid(), now, bytes);
	else if ((before ^ (before + bytes)) & ~(__u64)(USER_STEP - 1))
		look_at_user(process, bpf_get_current_uid_gid(), now, USER_STEP);
	if (process->user == USER_OVER_LIMIT)
		return LOSS_RATE_LIMIT;
	if (process->user == USER_HEAVY) {
		full = before < control.light_bytes ? control.shared_bytes : control.crowded_bytes;
		if (bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA) >= full)
			return LOSS_RING_FULL;
	}
	__sync_fetch_and_add(&process->bytes, bytes);
	return LOSS_REASONS;
}

/* Charges bytes in addition to those of refusal. It is global like refusal. */
__noinline int charge(__u32 process_id, __u32 user_id, __u64 now, __u32 bytes)
{
	struct rate *process = rate_of(&processes, PROCESS_BUCKETS, process_id, now);
	struct rate *user = rate_of(&users, USER_BUCKETS, user_id, now);

	if (process)
		__sync_fetch_and_add(&process->bytes, bytes);
	if (user)
		__sync_fetch_and_add(&user->bytes, bytes);
	return 0;
}

#endif /* CRAU_RING_BPF_H */
