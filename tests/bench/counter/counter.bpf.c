//go:build ignore
/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The least that a program behind a probe can do: it counts. What the programs
 * of the agent cost is stated as a multiple of this.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} hits SEC(".maps");

SEC("uprobe.multi")
int count(void *ctx)
{
	__u32 zero = 0;
	__u64 *seen = bpf_map_lookup_elem(&hits, &zero);

	if (seen)
		__sync_fetch_and_add(seen, 1);
	return 0;
}
