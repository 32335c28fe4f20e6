/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which processes are recorded: all, or the trees that a tracer follows. */
#ifndef CRAU_TREE_BPF_H
#define CRAU_TREE_BPF_H

/*
 * The agent's programs are loaded with 0, which is known to the verifier, so that it
 * removes is_followed.
 */
const volatile __u8 only_followed = 0;

/* The followed processes, by thread group. The size is set before loading. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, __u8);
} followed SEC(".maps");

static __always_inline int is_followed(__u32 process)
{
	return !only_followed || bpf_map_lookup_elem(&followed, &process);
}

#endif /* CRAU_TREE_BPF_H */
