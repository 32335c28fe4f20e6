//go:build ignore
/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The programs that follow trees of processes: a process that is started by a process
 * in the map is added, and a process that ends is removed.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include "audit.bpf.h"
#include "tree.bpf.h"

char _license[] SEC("license") = "GPL";

/* In a section, and thus a map, of its own, which the objects share. */
struct control_block control SEC(".data.control");

/* Not 0: processes started by the tracer itself are followed. */
__u32 adopting = 0;
/* The number of processes that are not followed because the map was full. */
__u64 missed = 0;

struct upid {
	int nr;
} __attribute__((preserve_access_index));
struct pid {
	unsigned int level;
	struct upid numbers[1];
} __attribute__((preserve_access_index));
struct signal_struct {
	struct {
		int counter;
	} live;
} __attribute__((preserve_access_index));
struct task_struct {
	__s32 pid, tgid;
	struct task_struct *real_parent;
	struct pid *thread_pid;
	struct signal_struct *signal;
} __attribute__((preserve_access_index));

SEC("tp_btf/sched_process_fork")
int BPF_PROG(process_started, struct task_struct *parent, struct task_struct *child)
{
	__u32 from = parent->tgid, process = child->tgid;
	__u8 yes = 1;

	if (process == from) /* a thread */
		return 0;
	if (!(adopting && from == control.own_tgid) && !bpf_map_lookup_elem(&followed, &from))
		return 0;
	if (bpf_map_update_elem(&followed, &process, &yes, BPF_ANY))
		__sync_fetch_and_add(&missed, 1);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(process_ended, struct task_struct *task)
{
	__u32 process = task->tgid;

	/* The last thread of the process ends, whichever it is. */
	if (task->signal->live.counter <= 0)
		bpf_map_delete_elem(&followed, &process);
	return 0;
}

/* A process: its id and its parent's id for the kernel, and its id for the reader. */
struct process {
	__u32 process;
	__u32 parent;
	__u32 pid;
};

const struct process *type_process __attribute__((unused));

struct seq_file;
struct bpf_iter_meta {
	struct seq_file *seq;
} __attribute__((preserve_access_index));
struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
} __attribute__((preserve_access_index));

/* Lists the processes that the reader can see. */
SEC("iter/task")
int list_processes(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task, *reader = bpf_get_current_task_btf();
	struct process p = {};
	__u32 level;
	struct pid *pid;

	if (!task || task->pid != task->tgid)
		return 0;
	level = BPF_CORE_READ(reader, thread_pid, level);
	pid = BPF_CORE_READ(task, thread_pid);
	p.process = task->tgid;
	p.parent = BPF_CORE_READ(task, real_parent, tgid);
	/* A process has one id for each of the namespaces around it. */
	bpf_probe_read_kernel(&p.pid, sizeof(p.pid), (void *)pid + bpf_core_field_offset(struct pid, numbers) +
			      level * bpf_core_type_size(struct upid) + bpf_core_field_offset(struct upid, nr));
	bpf_seq_write(ctx->meta->seq, &p, sizeof(p));
	return 0;
}
