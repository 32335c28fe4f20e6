#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# base.sh SUITE KERNEL DIRECTORY: makes the base of the arm64 machine in DIRECTORY: unpacked
# packages of a suite of Debian (root), the kernel, and an initial file system (initrd) with
# the files of root that the tests need. It executes no program for arm64.
set -eu
suite=$1 kernel=$2 directory=$3
new=$directory.new
rm -rf "$new"
mkdir -p "$new"
mmdebstrap --mode=root --variant=extract --architectures=arm64 --skip=check/qemu \
	--include="busybox-static,coreutils,libc-bin,libc6,openssl,libssl-dev,libgnutls28-dev,curl,gnutls-bin,ca-certificates,$kernel" \
	--aptopt='Acquire::Languages "none"' --aptopt='Acquire::Retries "5"' "$suite" "$new/root"
root=$new/root
gunzip -c "$root"/boot/vmlinuz-* >"$new/kernel" 2>/dev/null || cp "$root"/boot/vmlinuz-* "$new/kernel"
rm -r "$root"/boot "$root"/usr/share "$root"/usr/lib/modules "$root"/lib/modules 2>/dev/null || :

# The contents of the initial file system, merged into /usr.
first=$new/first
libraries=usr/lib/aarch64-linux-gnu
mkdir -p "$first/usr/bin" "$first/usr/sbin" "$first/$libraries" "$first/etc/ssl" "$first/usr/lib/ssl"
for name in bin sbin lib; do
	ln -s "usr/$name" "$first/$name"
done
file() { # PATH-BELOW-USR
	for from in "$root/usr/$1" "$root/$1"; do
		[ ! -e "$from" ] || { cp -P "$from" "$first/usr/$1" && return; }
	done
	echo "the packages have no /usr/$1" >&2
	exit 1
}
file bin/busybox
# A test needs expr as a program, not as a part of busybox.
file bin/expr
file bin/openssl
file bin/curl
file bin/gnutls-cli
file bin/gnutls-serv
file bin/certtool
file sbin/ldconfig
cp "$root/etc/ssl/openssl.cnf" "$first/etc/ssl"
for from in "$root/$libraries" "$root/lib/aarch64-linux-gnu"; do
	find "$from" -maxdepth 1 -name '*.so*' -exec cp -P {} "$first/$libraries" \; 2>/dev/null || :
done
cp -r "$root/$libraries/ossl-modules" "$first/$libraries"
ln -s aarch64-linux-gnu/ld-linux-aarch64.so.1 "$first/usr/lib/ld-linux-aarch64.so.1"
ln -s /etc/ssl/openssl.cnf "$first/usr/lib/ssl/openssl.cnf"
printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n' >"$first/etc/passwd"
printf 'root:x:0:\nnogroup:x:65534:\n' >"$first/etc/group"
echo '127.0.0.1 localhost' >"$first/etc/hosts"
printf '/usr/local/lib\n/usr/lib/aarch64-linux-gnu\n/lib/aarch64-linux-gnu\n' >"$first/etc/ld.so.conf"
(cd "$first" && find . | cpio --quiet -o -H newc -R 0:0) >"$new/initrd"
rm -r "$first"
mv "$new" "$directory"
