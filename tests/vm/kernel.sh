#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# kernel.sh DIRECTORY BASE SUITE: gets the newest kernel of a Debian suite for the
# machine with BASE, unless DIRECTORY exists. It then has vmlinuz, initrd and
# modules/VERSION.
set -eu
directory=$1 base=$2 suite=$3
[ -e "$directory" ] && exit 0
PATH=$PATH:/usr/sbin:/sbin
new=$directory.new
rm -rf "$new"
mkdir -p "$new/first" "$new/modules"
"$(dirname "$0")/../packages.sh" "$new/package" "$suite" amd64 +linux-image-cloud-amd64
root=$new/package/root
# Newer packages have the modules below /usr.
[ -e "$root/lib" ] || ln -s usr/lib "$root/lib"
version=$(ls "$root/lib/modules")
depmod -b "$root" "$version"

# The initial file system is that of the base, with other modules.
(cd "$new/first" && gzip -dc "$base/initrd" | cpio --quiet -id && rm ./*.ko)
number=100
for module in virtio_pci virtio_blk ext4; do
	for file in $(modprobe -d "$root" -S "$version" --show-depends $module | sed -n 's/^insmod \([^ ]*\).*/\1/p'); do
		name=$(basename "$file" .xz)
		ls "$new"/first/*-"$name" >/dev/null 2>&1 && continue
		case $file in
		*.xz) xz -dc "$file" >"$new/first/$number-$name" ;;
		*) cp "$file" "$new/first/$number-$name" ;;
		esac
		number=$((number + 1))
	done
done
(cd "$new/first" && find . | cpio --quiet -o -H newc) | gzip -1 >"$new/initrd"
mv "$root/lib/modules/$version" "$new/modules/$version"
mv "$root"/boot/vmlinuz-* "$new/vmlinuz"
rm -r "$new/first" "$new/package"
mv "$new" "$directory"
