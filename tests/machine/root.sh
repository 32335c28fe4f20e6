# SPDX-License-Identifier: Apache-2.0
#
# Functions for scripts that create the root of a disposable machine. The caller
# runs in a new mount namespace. $root is the new root.

# overlay DIRECTORY: mounts an overlay of / whose upper layer is a tmpfs at DIRECTORY.
overlay() {
	mount --make-rprivate /
	mount -t tmpfs -o mode=755 machine "$1"
	mkdir "$1/upper" "$1/work" "$1/root"
	root=$1/root
	mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$root"
	mount -t proc proc "$root/proc"
}

# install_stages STAGE...: does the same as a package: copies the files of each
# STAGE and creates the users.
install_stages() {
	for stage in "$@"; do
		tar -C "$stage" -c . | tar -C "$root" --no-same-owner --no-overwrite-dir --keep-directory-symlink -x
	done
	systemd-sysusers --root="$root"
}

# enter SCRIPT: makes $root the root of this process and executes SCRIPT.
enter() {
	cd "$root"
	mkdir -p mnt
	pivot_root . mnt
	exec chroot . /bin/sh -c "umount -l /mnt; $1"
}
