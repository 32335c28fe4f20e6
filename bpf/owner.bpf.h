/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The record of the owner of the next hit, which the agent may request. */
#ifndef CRAU_OWNER_BPF_H
#define CRAU_OWNER_BPF_H

#include "ring.bpf.h"
#include "task.bpf.h"

/*
 * Writes the owner to the ring. If there is no room, the hit will hardly find
 * room either. The function is global for the verifier, like refusal.
 */
__noinline int send_owner(__u64 now)
{
	const struct task_struct *task = bpf_get_current_task_btf();
	struct owner *o = bpf_ringbuf_reserve(&ring, sizeof(*o), 0);

	if (!o)
		return 0;
	o->time = now;
	o->pid_tgid = (__u64)task->tgid << 32 | (__u32)task->pid;
	o->unused[0] = o->unused[1] = 0;
	o->user = bpf_get_current_uid_gid();
	o->length = sizeof(*o);
	o->kind = RECORD_OWNER;
	o->padding = 0;
	read_unit(o->unit, task);
	bpf_ringbuf_submit(o, BPF_RB_NO_WAKEUP);
	return 0;
}

#endif /* CRAU_OWNER_BPF_H */
