#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# setup.sh [arm64]: installs missing packages for the tests in a virtual machine for x86-64,
# or for arm64.
set -eu

missing='' packages=''
need() { # COMMAND-OR-FILE DEBIAN-PACKAGE
	case $1 in
	/*) [ -e "$1" ] && return ;;
	*) command -v "$1" >/dev/null 2>&1 && return ;;
	esac
	missing="$missing $1"
	packages="$packages $2"
}

# The commands of administrators are only in root's path.
PATH=$PATH:/usr/sbin:/sbin
need mmdebstrap mmdebstrap
if [ "${1:-}" = arm64 ]; then
	need qemu-system-aarch64 qemu-system-arm
	need aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu
	need /usr/aarch64-linux-gnu/lib/crti.o libc6-dev-arm64-cross
else
	need qemu-system-x86_64 qemu-system-x86
	# The machine's firmware is only recommended by the package of QEMU.
	need /usr/share/seabios/bios-256k.bin seabios
fi
need cpio cpio
need mke2fs e2fsprogs
need debugfs e2fsprogs
need unshare util-linux
# Shares the host's files with the machine.
need /usr/lib/qemu/virtiofsd qemu-system-common
# Find and unpack the modules of another kernel.
need modprobe kmod
need xz xz-utils
# Programs of the host that run on the machine.
need openssl openssl
need curl curl
need gnutls-cli gnutls-bin
need python3 python3
need ssh openssh-client
need /usr/sbin/sshd openssh-server
need dropbear dropbear-bin
[ -z "$missing" ] && exit 0

if ! command -v apt-get >/dev/null 2>&1; then
	echo "check-vm: please install mmdebstrap, QEMU for ${1:-x86-64}, cpio and e2fsprogs; missing:$missing" >&2
	exit 1
fi
install="apt-get install -y --no-install-recommends -o DPkg::Lock::Timeout=600$packages"
if [ "$(id -u)" -ne 0 ]; then
	echo "check-vm: please run as root: $install" >&2
	exit 1
fi
echo "check-vm: $install"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq -o DPkg::Lock::Timeout=600
# shellcheck disable=SC2086 # words are meant to be split
$install >/dev/null
