#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# image.sh DIRECTORY: makes the base of the virtual machine in DIRECTORY, unless that
# exists: Debian 12 below root, labelled for SELinux, and its kernel with the initial
# file system. It contains nothing of the project. The script must run in a new mount
# namespace.
#
# image.sh --key prints the name of the base, a hash of this script.
# image.sh --seal DIRECTORY stores a checksum of the base, and image.sh --check DIRECTORY
# fails if it differs: a cached base may be damaged.
set -eu

contents() { # DIRECTORY
	cd "$1"
	{
		find root -printf '%y %m %U %G %p %l\n' | LC_ALL=C sort
		find . -type f ! -path ./seal -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
	} | sha256sum
}

case $1 in
--key)
	sha256sum "$0" | cut -c 1-16
	exit
	;;
--seal)
	seal=$(contents "$2")
	echo "$seal" >"$2/seal"
	exit
	;;
--check)
	[ -s "$2/seal" ] && [ "$(contents "$2")" = "$(cat "$2/seal")" ]
	exit
	;;
esac
directory=$1
root=$directory.new/root
[ -e "$directory" ] && exit 0
rm -rf --one-file-system "$directory.new"
mkdir -p "$directory.new"

# busybox-static is the program of the initial file system, kmod finds the modules
# for it; selinux-policy-dev builds the project's policy for this policy.
packages=systemd-sysv,dbus,polkitd,libpam-systemd,kmod,procps,busybox-static,zstd,libssl3
packages=$packages,selinux-basics,selinux-policy-default,selinux-policy-dev,policycoreutils
packages=$packages,checkpolicy,semodule-utils,auditd
# The kernel is unpacked and not installed, since its initial file system and a boot
# loader are not needed.
# shellcheck disable=SC2016 # $1 is mmdebstrap's
mmdebstrap --mode=root --variant=minbase --include=$packages \
	--aptopt='Acquire::Languages "none"' --aptopt='Acquire::Retries "5"' \
	--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
	--dpkgopt='path-exclude=/usr/share/locale/*' \
	--customize-hook='chroot "$1" sh -euc "
		mkdir /boot/kernel && cd /boot/kernel
		apt-get -qq download \$(apt-cache depends linux-image-cloud-amd64 | sed -n \"s/.*Depends: //p\" | head -n 1)
		dpkg-deb -x *.deb ."' \
	bookworm "$root"
mv "$root"/boot/kernel/lib/modules "$root/usr/lib/modules"
mv "$root"/boot/kernel/boot/vmlinuz-* "$directory.new/vmlinuz"
rm -r "$root/boot/kernel"
version=$(ls "$root/usr/lib/modules")
chroot "$root" depmod "$version"

echo "I: making the initial file system..."
# The initial file system loads the modules for disk and file system, in the order of
# their dependencies, and switches to the root file system.
first=$directory.new/first
mkdir -p "$first/dev" "$first/proc" "$first/root"
cp "$root/bin/busybox" "$first/busybox"
number=100
for module in virtio_pci virtio_blk ext4; do
	# Shared dependencies are loaded once.
	for file in $(chroot "$root" modprobe -S "$version" --show-depends $module | sed -n 's/^insmod \([^ ]*\).*/\1/p'); do
		name=$(basename "$file")
		ls "$first"/*-"$name" >/dev/null 2>&1 && continue
		cp "$root/$file" "$first/$number-$name"
		number=$((number + 1))
	done
done
cat >"$first/init" <<'END'
#!/busybox sh
/busybox mount -t devtmpfs dev /dev
for module in /*.ko; do
	/busybox insmod "$module"
done
/busybox mount -t ext4 /dev/vda /root
/busybox umount /dev
exec /busybox switch_root /root /lib/systemd/systemd
END
chmod +x "$first/init"
(cd "$first" && find . | cpio --quiet -o -H newc) | gzip -1 >"$directory.new/initrd"
rm -r "$first"

# The configuration of the machine.
echo machine >"$root/etc/hostname"
echo '127.0.0.1 localhost machine' >"$root/etc/hosts"
: >"$root/etc/fstab"
rm -f "$root/etc/resolv.conf"
: >"$root/etc/machine-id"
mkdir -p "$root/var/log/journal"
# Emulated hardware is slow: units that the tests do not need are masked.
for unit in getty.target getty-static.service selinux-autorelabel-mark.service \
	systemd-timesyncd.service systemd-udev-trigger.service systemd-pstore.service systemd-networkd.service \
	systemd-binfmt.service systemd-update-utmp.service \
	apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer; do
	ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
cat >"$root/etc/selinux/config" <<'END'
SELINUX=enforcing
SELINUXTYPE=default
SETLOCALDEFS=0
END
echo "I: labelling files..."
# setfiles needs /proc, and skips whole file systems if it is the host's.
mount -t proc proc "$root/proc"
chroot "$root" setfiles -F /etc/selinux/default/contexts/files/file_contexts /
umount "$root/proc"
"$0" --seal "$directory.new"
mv "$directory.new" "$directory"
