#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Builds the policy module, which is the same for all architectures. Nothing is
# written but the package. VARIANT is the policy that it is for, as in
# /etc/selinux/config; DEVEL has the headers of that policy.
set -eu

if [ $# -ne 2 ]; then
	echo "usage: $0 VARIANT PACKAGE.pp.bz2" >&2
	exit 2
fi
variant=$1 package=$2
devel=${DEVEL:-/usr/share/selinux/devel}
sources=$(cd "$(dirname "$0")" && pwd)

if [ ! -f "$devel/Makefile" ]; then
	echo "$0: cannot find $devel/Makefile: install selinux-policy-dev (Debian) or selinux-policy-devel (Fedora)" >&2
	exit 1
fi

# That Makefile builds in the current directory.
directory=$(mktemp -d "${TMPDIR:-/tmp}/crypto-auditing-selinux.XXXXXX")
trap 'rm -rf "$directory"' EXIT
cp "$sources/crypto_auditing.te" "$sources/crypto_auditing.if" "$sources/crypto_auditing.fc" "$directory"
# A module cannot ask which permissions the policy knows.
if grep -q 'all_io_uring_perms.* allowed ' "$devel/include/support/all_perms.spt"; then
	export M4PARAM="${M4PARAM:-} -D io_uring_allowed"
fi
# Called by another make it would take the flags of that.
unset MAKEFLAGS MFLAGS MAKELEVEL
make -s -C "$directory" -f "$devel/Makefile" NAME="$variant" crypto_auditing.pp
bzip2 -9 <"$directory/crypto_auditing.pp" >"$package"
