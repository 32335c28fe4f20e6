//go:build ignore
/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lists the files that processes have mapped as executable. The kernel's address of an
 * inode identifies the file that a probe is placed in, also below an overlay, where the
 * numbers that programs see are those of the overlay.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

char _license[] SEC("license") = "GPL";

#define VM_EXEC 0x4

struct upid {
	int nr;
} __attribute__((preserve_access_index));
struct pid {
	unsigned int level;
	struct upid numbers[1];
} __attribute__((preserve_access_index));
struct ns_common {
	unsigned int inum;
} __attribute__((preserve_access_index));
struct mnt_namespace {
	struct ns_common ns;
} __attribute__((preserve_access_index));
struct nsproxy {
	struct mnt_namespace *mnt_ns;
} __attribute__((preserve_access_index));
struct task_struct {
	struct task_struct *group_leader;
	struct pid *thread_pid;
	struct nsproxy *nsproxy;
} __attribute__((preserve_access_index));

struct super_block {
	unsigned int s_dev;
	unsigned long s_magic;
} __attribute__((preserve_access_index));
struct inode {
	unsigned long i_ino;
	struct super_block *i_sb;
} __attribute__((preserve_access_index));
struct path {
};
struct file {
	struct inode *f_inode;
	struct path f_path;
} __attribute__((preserve_access_index));
struct vm_area_struct {
	unsigned long vm_start;
	unsigned long vm_end;
	unsigned long vm_flags;
	struct file *vm_file;
} __attribute__((preserve_access_index));

/* A mapping, which its path follows: length bytes, of which the last is 0. */
struct mapped {
	__u64 start;
	__u64 end;
	/* The file: the kernel's address of its inode, its numbers, and what file system it is on (statfs(2), f_type). */
	__u64 file;
	__u64 inode;
	__u64 magic;
	__u32 device;
	/* The process for the reader, and the number of its mount namespace. */
	__u32 pid;
	__u32 mounts;
	__u32 length;
};

const struct mapped *type_mapped __attribute__((unused));

/* One reader lists at a time. */
char name[1024];

struct seq_file;
struct bpf_iter_meta {
	struct seq_file *seq;
} __attribute__((preserve_access_index));
struct bpf_iter__task_vma {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	struct vm_area_struct *vma;
} __attribute__((preserve_access_index));

SEC("iter/task_vma")
int list_mapped(struct bpf_iter__task_vma *ctx)
{
	struct task_struct *task = ctx->task, *reader = bpf_get_current_task_btf();
	struct vm_area_struct *vma = ctx->vma;
	struct mapped m = {};
	struct file *file;
	struct inode *inode;
	struct pid *pid;
	__u32 level;
	long length;

	if (!task || !vma || !(vma->vm_flags & VM_EXEC))
		return 0;
	file = vma->vm_file;
	if (!file)
		return 0;
	inode = file->f_inode;
	m.start = vma->vm_start;
	m.end = vma->vm_end;
	m.file = (__u64)inode;
	m.inode = BPF_CORE_READ(inode, i_ino);
	m.device = BPF_CORE_READ(inode, i_sb, s_dev);
	m.magic = BPF_CORE_READ(inode, i_sb, s_magic);
	m.mounts = BPF_CORE_READ(task, nsproxy, mnt_ns, ns.inum);
	level = BPF_CORE_READ(reader, thread_pid, level);
	pid = BPF_CORE_READ(task, group_leader, thread_pid);
	/* A process has one id for each of the namespaces around it. */
	bpf_probe_read_kernel(&m.pid, sizeof(m.pid), (void *)pid + bpf_core_field_offset(struct pid, numbers) +
			      level * bpf_core_type_size(struct upid) + bpf_core_field_offset(struct upid, nr));
	length = bpf_d_path((struct path *)&file->f_path, name, sizeof(name));
	if (length <= 0 || length > (long)sizeof(name))
		return 0; /* too long */
	m.length = length;
	bpf_seq_write(ctx->meta->seq, &m, sizeof(m));
	bpf_seq_write(ctx->meta->seq, name, length);
	return 0;
}
