#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# disk.sh BASE STAGE CACHE DISK [MODULES]: makes the machine's DISK from BASE, the
# files below STAGE, installed as by a package, and MODULES of another kernel. It
# must run in a new mount namespace.
set -eu
base=$1 stage=$2 cache=$3 disk=$4 modules=${5:-}

# The base is not changed: changes are in memory.
work=$(mktemp -d)
trap 'umount --recursive "$work"; rmdir "$work"' EXIT
mount -t tmpfs -o mode=755 changes "$work"
mkdir "$work"/{upper,work,base}
mount -t overlay overlay -o "lowerdir=$base,upperdir=$work/upper,workdir=$work/work,xino=on" "$work/base"
# setfiles skips mounted file systems without labels of the host, hence a directory
# in one, and devices other than the first, hence xino.
root=$work/base/root
mount -t proc proc "$root/proc"

if [ -n "$modules" ]; then
	cp -a "$modules"/* "$root/usr/lib/modules"
fi
tar -C "$stage" --owner=0 --group=0 -c . | tar -C "$root" --no-overwrite-dir --keep-directory-symlink -x
chroot "$root" systemd-sysusers
# The publishers were built on the host, and use the machine's libraries.
for program in handshake replay; do
	chroot "$root" "/opt/test/bin/$program" --help >/dev/null || {
		echo "what is built here does not run with the libraries of Debian 12: please run this on Debian 12"
		exit 1
	}
done
mapfile -t units < <(find "$stage" -name 'crypto-auditing-*.service' -printf '%f\n' -o -name 'crypto-auditing-*.socket' -printf '%f\n' -o -name 'crypto-auditing-*.timer' -printf '%f\n')
chroot "$root" systemctl preset "${units[@]}"
chroot "$root" systemctl enable tests.service

# The last policy is reused if its sources have not changed and its file is intact.
key=$(cat selinux/crypto_auditing.* "$0" | sha256sum | cut -c 1-16)
policy=$cache/$(basename "$base")-policy-$key.tar
if ! (cd "$cache" && sha256sum --check --status "$policy.sum"); then
	mkdir "$root/var/tmp/selinux"
	cp selinux/crypto_auditing.* "$root/var/tmp/selinux"
	# The policy has a boolean for old kernels such as the machine's.
	chroot "$root" sh -euc '
		cd /var/tmp/selinux
		make -s -f /usr/share/selinux/devel/Makefile crypto_auditing.pp
		echo crypto_auditing_agent_perf_events=1 >>/var/lib/selinux/default/active/booleans.local
		semodule -n -i crypto_auditing.pp'
	rm -r "$root/var/tmp/selinux"
	rm -f "$cache"/*-policy-*
	tar -C "$root" -cf "$policy" etc/selinux var/lib/selinux
	(cd "$cache" && sha256sum "$(basename "$policy")" >"$policy.sum")
fi
tar -C "$root" -xf "$policy"

chroot "$root" setfiles -F /etc/selinux/default/contexts/files/file_contexts /
for file in passwd machine-id; do
	case $(stat -c %C "$root/etc/$file") in
	system_u:*) ;;
	*)
		echo "setfiles has not labelled /etc/$file"
		exit 1
		;;
	esac
done
umount "$root/proc"
mke2fs -q -t ext4 -O ^has_journal,^metadata_csum -m 0 -L machine -d "$root" "$disk" 3g
