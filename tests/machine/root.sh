# SPDX-License-Identifier: Apache-2.0
#
# Functions for scripts that make the root of a throw-away machine. The caller
# is in a mount namespace of its own. $root is the new root.

# overlay FOLDER: mounts an overlay of / whose upper layer is in FOLDER, in memory.
overlay() {
	mount --make-rprivate /
	mount -t tmpfs -o mode=755 machine "$1"
	mkdir "$1/upper" "$1/work" "$1/root"
	root=$1/root
	mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$root"
	mount -t proc proc "$root/proc"
}

# install_stages STAGE...: does what a package does: copies what is below each
# STAGE, and makes the users.
install_stages() {
	for stage in "$@"; do
		tar -C "$stage" -c . | tar -C "$root" --no-same-owner --no-overwrite-dir --keep-directory-symlink -x
	done
	systemd-sysusers --root="$root"
}

# enter SCRIPT: makes $root the root of this process and continues with SCRIPT.
enter() {
	cd "$root"
	mkdir -p mnt
	pivot_root . mnt
	exec chroot . /bin/sh -c "umount -l /mnt; $1"
}
