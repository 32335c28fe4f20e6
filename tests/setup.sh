#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# setup.sh [build|demo|check|soak]: installs missing packages. Each word includes those of
# the words before it: the build, the demo, all tests (default), "make soak". Go must
# already be installed. The packages are listed before they are installed; SETUP=show only
# lists them.
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

# These functions print a path for need: an existing file if the requirement is met.
header() { # INCLUDE [FLAG...]
	name=$1
	shift
	printf '#include <%s>\n' "$name" | cc -E -xc "$@" - >/dev/null 2>&1 && echo /dev/null || echo /nowhere
}
found() { # PATTERN...
	for pattern; do
		# shellcheck disable=SC2086 # the pattern is meant to be expanded
		for name in $pattern; do [ -e "$name" ] && echo /dev/null && return; done
	done
	echo /nowhere
}
# Only the distribution's Python finds the distribution's modules.
module() { /usr/bin/python3 -c "import $1" >/dev/null 2>&1 && echo /dev/null || echo /nowhere; }

need cc gcc gcc
need make make make
need meson meson meson
need ninja ninja-build ninja-build
need pkg-config pkg-config pkgconf-pkg-config
need "$(header dlfcn.h)" libc6-dev glibc-devel
need "$(header openssl/ssl.h)" libssl-dev openssl-devel
need dbus-daemon dbus-daemon dbus-daemon
need busctl systemd systemd
need zstd zstd zstd

if [ "${1:-check}" != build ]; then
	need python3 python3 python3
	need openssl openssl openssl
	need /usr/sbin/sshd openssh-server openssh-server
	need ssh openssh-client openssh-clients
fi
if [ "${1:-check}" = check ] || [ "$1" = soak ]; then
	need clang clang clang
	need llvm-strip llvm llvm
	# To test the publishers' header and the parser of probes for the other architecture.
	# Fedora has no C library for its cross compiler.
	if command -v apt-get >/dev/null 2>&1 && [ "$(uname -m)" != aarch64 ]; then
		need aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu ''
		need /usr/aarch64-linux-gnu/lib/crti.o libc6-dev-arm64-cross ''
	fi
	need readelf binutils binutils
	need "$(header bpf/bpf_helpers.h -include linux/types.h)" libbpf-dev libbpf-devel
	need "$(header sys/sdt.h)" systemtap-sdt-dev systemtap-sdt-devel
	need /usr/lib/polkit-1/polkitd polkitd polkit
	need jq jq jq
	need nsenter util-linux util-linux-core
	need unshare util-linux util-linux-core
	need /sbin/mke2fs e2fsprogs e2fsprogs
	need setpriv util-linux util-linux
	need tar tar tar
	need xz xz-utils xz
	need bzip2 bzip2 bzip2
	need cpio cpio cpio
	need git git git
	need mandoc mandoc mandoc
	need dbus-broker-launch dbus-broker dbus-broker
	need /usr/share/dbus-1/system.conf dbus dbus-daemon
	need gdbus libglib2.0-bin glib2
	need "$(module dbus)" python3-dbus python3-dbus
	need "$(module gi)" python3-gi python3-gobject-base
	need rpmbuild rpm rpm-build
	need rpm2cpio rpm2cpio rpm
	need rpmlint rpmlint rpmlint
	# Either policy suffices, whether or not SELinux is active.
	policy=/var/lib/selinux/default
	[ -e $policy ] || policy=/var/lib/selinux/targeted
	need "$policy" selinux-policy-default selinux-policy-targeted
	need /usr/share/selinux/devel/Makefile selinux-policy-dev selinux-policy-devel
	need checkmodule checkpolicy checkpolicy
	need /usr/sbin/semodule policycoreutils policycoreutils
	need semodule_package semodule-utils policycoreutils
	need /usr/sbin/matchpathcon selinux-utils libselinux-utils
	need "$(module setools)" python3-setools python3-setools
	need selint selint selint
	# Programs whose handshakes are recorded at sockets.
	need curl curl curl
	need gnutls-cli gnutls-bin gnutls-utils
	need dropbear dropbear-bin dropbear
	need socat socat socat
	need haproxy haproxy haproxy
	need nginx nginx-light nginx
	need stunnel stunnel4 stunnel
	need redis-server redis-server redis
	need "$(found '/usr/lib*/nginx/modules/ngx_stream_module.so')" libnginx-mod-stream nginx-mod-stream
	need "$(header mbedtls/ssl.h)" libmbedtls-dev mbedtls-devel
	need "$(header wolfssl/ssl.h)" libwolfssl-dev wolfssl-devel
	need tstclnt libnss3-tools nss-tools
	need "$(found '/usr/lib*/*/libgcrypt.so.20' '/usr/lib*/libgcrypt.so.20')" libgcrypt20 libgcrypt
	need sslscan sslscan sslscan
	need /usr/sbin/slapd slapd openldap-servers
	need ldapsearch ldap-utils openldap-clients
	need "$(module paramiko)" python3-paramiko python3-paramiko
	# To switch stacks (gevent) and to stop programs (gdb) whose functions are recorded.
	need "$(module gevent)" python3-gevent python3-gevent
	need gdb gdb gdb
fi
if [ "${1:-check}" = soak ]; then
	need escript erlang-base erlang-erts
	need "$(found '/usr/lib*/erlang/lib/ssl-*')" erlang-ssl erlang-ssl
	need mariadb mariadb-client-core mariadb
	need /usr/sbin/mariadbd mariadb-server-core mariadb-server
	need /usr/sbin/dovecot dovecot-imapd dovecot
	need "$(found '/usr/lib/postgresql/*/bin/postgres')" postgresql postgresql-server
	need php php-cli php-cli
	need ruby ruby ruby
	need "$(found '/usr/lib/*/perl5/*/Crypt/OpenSSL/RSA.pm')" libcrypt-openssl-rsa-perl perl-Crypt-OpenSSL-RSA
	need dnssec-keygen bind9-utils bind-dnssec-utils
	need dnssec-signzone bind9-utils bind-dnssec-utils
	need /usr/sbin/apache2 apache2-bin httpd-core
	need chromium-headless-shell chromium-headless-shell chromium-headless
	need cargo cargo cargo
fi
[ -z "$missing" ] && exit 0

if command -v apt-get >/dev/null 2>&1; then
	install="apt-get install -y --no-install-recommends $debian"
elif command -v dnf >/dev/null 2>&1; then
	install="dnf install -y $fedora"
else
	echo "setup: please install:$missing (Debian:$debian; Fedora:$fedora)" >&2
	exit 1
fi
if [ "${SETUP:-install}" = show ] || [ "$(id -u)" -ne 0 ]; then
	echo "setup: missing:$missing; install them as root: $install" >&2
	exit 1
fi
echo "setup: NOTICE: missing:$missing"
echo "setup: NOTICE: installing packages of the distribution: $install"
echo "setup: NOTICE: with SETUP=show, this is printed and nothing is installed"
# In this runlevel, Debian does not start the services that it installs.
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
case $install in
apt-get*)
	apt-get update -qq
	[ -e /etc/systemd/system/dbus.service ] || switched=yes
	;;
esac
# shellcheck disable=SC2086 # words are meant to be split
$install >/dev/null
# On Debian, the package dbus-broker replaces the machine's bus at the next boot. The tests
# only need the program.
case "$missing " in
*" dbus-broker-launch "*)
	if [ -n "${switched:-}" ] && command -v systemctl >/dev/null 2>&1; then
		systemctl -q disable dbus-broker.service
		systemctl -q --global disable dbus-broker.service
	fi
	;;
esac
