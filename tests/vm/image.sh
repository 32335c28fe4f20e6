#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# image.sh FOLDER: makes the base of the virtual machine in FOLDER, unless it is
# there: Debian 12 as the tree root, labelled for SELinux, and its own kernel
# with the first file system it needs. Nothing of the project is in it. The
# caller made a new mount namespace.
#
# image.sh --key prints what names that base: another script, another base.
# image.sh --seal FOLDER notes what is in it, and image.sh --check FOLDER fails if
# anything in it is different from that: a base that was kept may be damaged.
set -eu

contents() { # FOLDER
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
folder=$1
root=$folder.new/root
[ -e "$folder" ] && exit 0
rm -rf --one-file-system "$folder.new"
mkdir -p "$folder.new"

# busybox-static is the program of the first file system, kmod finds the modules
# for it; selinux-policy-dev builds the project's policy against this policy.
packages=systemd-sysv,dbus,polkitd,libpam-systemd,kmod,procps,busybox-static,zstd,libssl3
packages=$packages,selinux-basics,selinux-policy-default,selinux-policy-dev,policycoreutils
packages=$packages,checkpolicy,semodule-utils,auditd
# The kernel is unpacked and not installed: nothing here wants its first file
# system or a boot loader.
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
mv "$root"/boot/kernel/boot/vmlinuz-* "$folder.new/vmlinuz"
rm -r "$root/boot/kernel"
version=$(ls "$root/usr/lib/modules")
chroot "$root" depmod "$version"

echo "I: making the first file system..."
# The first file system loads the modules for disk and file system, in the order
# of their dependencies, and gives way to the real one.
first=$folder.new/first
mkdir -p "$first/dev" "$first/proc" "$first/root"
cp "$root/bin/busybox" "$first/busybox"
number=100
for module in virtio_pci virtio_blk ext4; do
	# Dependencies that several have are loaded once.
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
(cd "$first" && find . | cpio --quiet -o -H newc) | gzip -1 >"$folder.new/initrd"
rm -r "$first"

# What the machine is.
echo machine >"$root/etc/hostname"
echo '127.0.0.1 localhost machine' >"$root/etc/hosts"
: >"$root/etc/fstab"
rm -f "$root/etc/resolv.conf"
: >"$root/etc/machine-id"
mkdir -p "$root/var/log/journal"
# Emulated hardware is slow: nothing starts that has no business here.
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
# It wants /proc, and passes over whole file systems where that is the host's.
mount -t proc proc "$root/proc"
chroot "$root" setfiles -F /etc/selinux/default/contexts/files/file_contexts /
umount "$root/proc"
"$0" --seal "$folder.new"
mv "$folder.new" "$folder"
