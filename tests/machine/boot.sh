#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# boot.sh FOLDER STAGE...: becomes the machine's own systemd, as process 1 of a
# throw-away machine. The caller made new mount, PID, UTS, IPC and network
# namespaces and put the process into a cgroup of its own.
#
# The machine's root is an overlay of / whose upper layer is in FOLDER, in
# memory; what is below each STAGE is copied over it. The kernel and its tracing
# are the host's. Resource limits of cgroups may be without effect.
set -eu
directory=$1
shift

# The cgroup of this process becomes the root of the machine's hierarchy.
if [ "${BOOT_STEP:-}" = "" ]; then
	BOOT_STEP=mounts exec unshare --cgroup "$0" "$directory" "$@"
fi

. "${0%/*}/root.sh"
overlay "$directory"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t bpf bpf "$root/sys/fs/bpf"
mount -t tracefs tracefs "$root/sys/kernel/tracing"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
mkdir "$root"/dev/{pts,shm}
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$root/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
while read -r name major minor; do
	mknod -m 666 "$root/dev/$name" c "$major" "$minor"
done <<-END
	null 1 3
	zero 1 5
	full 1 7
	random 1 8
	urandom 1 9
	tty 5 0
END
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"

# What a package does: files, users, presets. The directories below /run come at
# boot.
install_stages "$@"
journalctl --root="$root" --update-catalog
units=$(cd "$1" && find . -path '*/systemd/system/crypto-auditing-*' | sed 's,.*/,,')
# shellcheck disable=SC2086 # words are meant to be split
[ -z "$units" ] || systemctl --root="$root" preset $units

# Nothing of the host's starts that has no business here.
mkdir -p "$root/run/systemd/system" "$root/etc/tmpfiles.d"
for unit in getty.target systemd-{timesyncd,sysctl,pstore,update-utmp,modules-load,remount-fs,binfmt,udevd,networkd,resolved}.service \
	systemd-udev-{trigger,settle}.service {apt-daily,apt-daily-upgrade,man-db,fstrim,e2scrub_all,dpkg-db-backup,logrotate,dnf-makecache}.timer \
	e2scrub_reap.service {postgresql,nginx,haproxy,stunnel4,redis-server,slapd,dovecot}.service dovecot.socket; do
	ln -sf /dev/null "$root/run/systemd/system/$unit"
done
: >"$root/etc/fstab"
# Boot would empty /tmp, of the overlay only, but that takes its time.
ln -sf /dev/null "$root/etc/tmpfiles.d/tmp.conf"
hostname machine

systemd=/usr/lib/systemd/systemd
[ -x $systemd ] || systemd=/lib/systemd/systemd
# container= keeps systemd from touching the host's devices and clock.
enter "mount --make-rshared /; exec env -i container=machine \
	PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
	$systemd --system --log-target=journal --show-status=no"
