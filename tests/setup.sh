#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Installs what the build, the tests and the demo need and what is missing.
# Go itself must be there.
set -eu

missing=
need() { # COMMAND-OR-FILE DEBIAN-PACKAGE FEDORA-PACKAGE
	case $1 in
	/*) [ -e "$1" ] && return ;;
	*) command -v "$1" >/dev/null 2>&1 && return ;;
	esac
	missing="$missing $1"
	debian="${debian:-} $2"
	fedora="${fedora:-} $3"
}

if ! command -v go >/dev/null 2>&1; then
	echo "setup: Go 1.25 or newer is needed: https://go.dev/doc/install" >&2
	exit 1
fi

include=$(printf '#include <bpf/bpf_helpers.h>\n' | cc -E -xc -include linux/types.h - >/dev/null 2>&1 && echo /dev/null || echo /nowhere)
openssl=$(printf '#include <openssl/ssl.h>\n' | cc -E -xc - >/dev/null 2>&1 && echo /dev/null || echo /nowhere)
sdt=$(printf '#include <sys/sdt.h>\n' | cc -E -xc - >/dev/null 2>&1 && echo /dev/null || echo /nowhere)
# The distribution's Python has the distribution's modules.
dbus=$(/usr/bin/python3 -c 'import dbus' >/dev/null 2>&1 && echo /dev/null || echo /nowhere)
gi=$(/usr/bin/python3 -c 'import gi' >/dev/null 2>&1 && echo /dev/null || echo /nowhere)
setools=$(/usr/bin/python3 -c 'import setools' >/dev/null 2>&1 && echo /dev/null || echo /nowhere)
# Either will do, SELinux active or not.
policy=/var/lib/selinux/default
[ -e $policy ] || policy=/var/lib/selinux/targeted

need cc gcc gcc
need make make make
need meson meson meson
need ninja ninja-build ninja-build
need pkg-config pkg-config pkgconf-pkg-config
need clang clang clang
need llvm-strip llvm llvm
need zstd zstd zstd
need python3 python3 python3
need readelf binutils binutils
need "$include" libbpf-dev libbpf-devel
need "$openssl" libssl-dev openssl-devel
need "$sdt" systemtap-sdt-dev systemtap-sdt-devel
need systemd-analyze systemd systemd
need dbus-daemon dbus dbus-daemon
need /usr/lib/polkit-1/polkitd polkitd polkit
need nsenter util-linux util-linux-core
need setpriv util-linux util-linux
need tar tar tar
need mandoc mandoc mandoc
need git git git
need rpmbuild rpm rpm-build
need /usr/share/selinux/devel/Makefile selinux-policy-dev selinux-policy-devel
need bzip2 bzip2 bzip2
need checkmodule checkpolicy checkpolicy
need /usr/sbin/semodule policycoreutils policycoreutils
need semodule_package semodule-utils policycoreutils
need "$policy" selinux-policy-default selinux-policy-targeted
need selint selint selint
need /usr/sbin/matchpathcon selinux-utils libselinux-utils
need "$setools" python3-setools python3-setools
need rpmlint rpmlint rpmlint
need rpm2cpio rpm2cpio rpm
need cpio cpio cpio
need unshare util-linux util-linux-core
need xz xz-utils xz
need dbus-daemon dbus-daemon dbus-daemon
need dbus-broker-launch dbus-broker dbus-broker
need busctl systemd systemd
need gdbus libglib2.0-bin glib2
need "$dbus" python3-dbus python3-dbus
need "$gi" python3-gi python3-gobject-base
need /usr/lib/polkit-1/polkitd polkitd polkit
[ -z "$missing" ] && exit 0

if command -v apt-get >/dev/null 2>&1; then
	install="apt-get install -y --no-install-recommends $debian"
elif command -v dnf >/dev/null 2>&1; then
	install="dnf install -y $fedora"
else
	echo "setup: please install:$missing (Debian:$debian; Fedora:$fedora)" >&2
	exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
	echo "setup: please run as root: $install" >&2
	exit 1
fi
echo "setup: $install"
export DEBIAN_FRONTEND=noninteractive
case $install in
apt-get*)
	apt-get update -qq
	[ -e /etc/systemd/system/dbus.service ] || switched=yes
	;;
esac
# shellcheck disable=SC2086 # words are meant to be split
$install >/dev/null
# On Debian dbus-broker takes the place of the machine's bus at the next boot. The
# tests want the program, not that.
case "$missing " in
*" dbus-broker-launch "*)
	if [ -n "${switched:-}" ] && command -v systemctl >/dev/null 2>&1; then
		systemctl -q disable dbus-broker.service
		systemctl -q --global disable dbus-broker.service
	fi
	;;
esac
