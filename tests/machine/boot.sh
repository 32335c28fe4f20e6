#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# boot.sh DIRECTORY STAGE...: executes systemd as process 1 of a disposable
# machine. The caller created new mount, PID, UTS, IPC and network namespaces and
# put the process into a separate cgroup.
#
# The machine's root is an overlay of / whose upper layer is a tmpfs at DIRECTORY;
# the files of each STAGE are copied over it. The kernel and its tracing are
# shared with the host. Resource limits of cgroups may have no effect.
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

# Do the same as a package: files, users, presets. Boot creates the directories
# below /run.
install_stages "$@"
journalctl --root="$root" --update-catalog
units=$(cd "$1" && find . -path '*/systemd/system/crypto-auditing-*' | sed 's,.*/,,')
# shellcheck disable=SC2086 # words are meant to be split
[ -z "$units" ] || systemctl --root="$root" preset $units

# Mask units of the host that the tests do not need.
mkdir -p "$root/run/systemd/system" "$root/etc/tmpfiles.d"
for unit in getty.target systemd-{timesyncd,sysctl,pstore,update-utmp,modules-load,remount-fs,binfmt,udevd,networkd,resolved}.service \
	systemd-udev-{trigger,settle}.service {apt-daily,apt-daily-upgrade,man-db,fstrim,e2scrub_all,dpkg-db-backup,logrotate,dnf-makecache}.timer \
	e2scrub_reap.service {postgresql,nginx,haproxy,stunnel4,redis-server,slapd,dovecot}.service dovecot.socket; do
	ln -sf /dev/null "$root/run/systemd/system/$unit"
done
: >"$root/etc/fstab"
# Do not empty /tmp at boot: this would only affect the overlay, but take long.
ln -sf /dev/null "$root/etc/tmpfiles.d/tmp.conf"
hostname machine

systemd=/usr/lib/systemd/systemd
[ -x $systemd ] || systemd=/lib/systemd/systemd
# container= prevents systemd from changing the host's devices and clock.
enter "mount --make-rshared /; exec env -i container=machine \
	PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
	$systemd --system --log-target=journal --show-status=no"
