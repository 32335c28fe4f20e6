/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the programs read of the task that they run in. */
#ifndef CRAU_TASK_BPF_H
#define CRAU_TASK_BPF_H

#define EXECUTABLE_MAX 64

/* The part of the kernel's types that leads from a task to what it runs. */
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
} __attribute__((preserve_access_index));
struct mm_struct {
	struct file *exe_file;
} __attribute__((preserve_access_index));
struct task_struct {
	struct mm_struct *mm;
	__s32 pid, tgid;
} __attribute__((preserve_access_index));

/*
 * Reads the base name of the executable to the EXECUTABLE_MAX bytes at `to`.
 * Returns its length with the NUL.
 */
static __always_inline long read_executable(__u8 *to, const struct task_struct *task)
{
	const struct dentry *file = task->mm->exe_file->f_path.dentry;
	const struct dentry___before_6_15 *old = (const void *)file;
	__u32 length = file->d_name.len;

	/*
	 * Short names are in the entry itself, where they are read without the
	 * call of a helper. A rename at this moment may mix two names, as it may
	 * with the helper.
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

#endif /* CRAU_TASK_BPF_H */
