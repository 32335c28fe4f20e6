/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The fields that the programs read of the current task. */
#ifndef CRAU_TASK_BPF_H
#define CRAU_TASK_BPF_H

#define EXECUTABLE_MAX 64

/* The parts of kernel types that lead from a task to its executable and cgroup. */
struct qstr {
	__u32 len;
	const unsigned char *name;
} __attribute__((preserve_access_index));
struct shortname {
	char string[40];
};
struct dentry {
	struct qstr d_name;
	struct shortname d_shortname;
} __attribute__((preserve_access_index));
struct dentry___before_6_15 {
	char d_iname[32];
} __attribute__((preserve_access_index));
struct path {
	struct dentry *dentry;
} __attribute__((preserve_access_index));
struct file {
	struct path f_path;
	void *private_data;
} __attribute__((preserve_access_index));
struct mm_struct {
	struct file *exe_file;
	unsigned long task_size;
} __attribute__((preserve_access_index));
struct fdtable {
	unsigned int max_fds;
	struct file **fd;
} __attribute__((preserve_access_index));
struct files_struct {
	struct fdtable *fdt;
} __attribute__((preserve_access_index));
struct kernfs_node {
	const char *name;
	struct kernfs_node *__parent;
} __attribute__((preserve_access_index));
struct kernfs_node___before_6_15 {
	struct kernfs_node *parent;
} __attribute__((preserve_access_index));
struct cgroup {
	struct kernfs_node *kn;
} __attribute__((preserve_access_index));
struct css_set {
	struct cgroup *dfl_cgrp;
} __attribute__((preserve_access_index));
struct thread_info {
	unsigned long flags;
	__u32 status;
} __attribute__((preserve_access_index));
struct task_struct {
	struct thread_info thread_info;
	unsigned int flags;
	struct mm_struct *mm;
	__s32 pid, tgid;
	struct files_struct *files;
	struct css_set *cgroups;
} __attribute__((preserve_access_index));

/*
 * Reads the base name of the executable into the EXECUTABLE_MAX bytes at `to`.
 * Returns its length including the NUL.
 */
static __always_inline long read_executable(__u8 *to, const struct task_struct *task)
{
	const struct dentry *file = task->mm->exe_file->f_path.dentry;
	const struct dentry___before_6_15 *old = (const void *)file;
	__u32 length = file->d_name.len;

	/*
	 * Short names are in the entry itself and are read without a helper. A
	 * concurrent rename may mix two names, which is also possible with the
	 * helper.
	 */
	if (length < sizeof(old->d_iname)) {
		const __u64 *words = bpf_core_field_exists(file->d_shortname) ?
			(const void *)&file->d_shortname : (const void *)&old->d_iname;

		for (unsigned int i = 0; i < sizeof(old->d_iname) / sizeof(*words); i++) {
			__u64 word = words[i];

			__builtin_memcpy(to + i * sizeof(word), &word, sizeof(word));
		}
		return length + 1;
	}
	return bpf_probe_read_kernel_str(to, EXECUTABLE_MAX, file->d_name.name);
}

/* Reports whether a name of that length is the name of a service or scope. */
static __always_inline int is_unit(const char *name, long length)
{
	char end[8] = {}; /* ".service" */
	__u64 word;

	if (length <= (long)sizeof(end) || bpf_probe_read_kernel(end, sizeof(end), name + length - sizeof(end)))
		return 0;
	__builtin_memcpy(&word, end, sizeof(word));
	return word == 0x656369767265732eULL || word >> 16 == 0x65706f63732eULL; /* ".scope" */
}

/*
 * Returns the parent group. Each kernel has one of the two members. The compiler
 * must not move the code for the other member to where it is executed, hence the
 * barriers, and a function that is not inlined.
 */
static __noinline struct kernfs_node *parent_of(const struct kernfs_node *node)
{
	struct kernfs_node *parent = 0;
	const void *from;

	if (bpf_core_field_exists(node->__parent)) {
		from = &node->__parent;
		barrier_var(from);
	} else {
		from = &((const struct kernfs_node___before_6_15 *)node)->parent;
		barrier_var(from);
	}
	bpf_probe_read_kernel(&parent, sizeof(parent), from);
	return parent;
}

/*
 * Reads the name of the nearest service or scope above a task into the UNIT_MAX
 * bytes at `to`. The result is empty if there is none or its name is too long.
 */
static __always_inline void read_unit(char *to, const struct task_struct *task)
{
	struct kernfs_node *node = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn);

	for (int i = 0; i < 12 && node; i++) {
		const char *name = BPF_CORE_READ(node, name);
		long n = bpf_probe_read_kernel_str(to, UNIT_MAX, name);

		if (n < UNIT_MAX && is_unit(name, n - 1))
			return;
		node = parent_of(node);
	}
	*to = 0;
}

#endif /* CRAU_TASK_BPF_H */
