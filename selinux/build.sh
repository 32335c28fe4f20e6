#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Builds the policy module, which is the same for all architectures. Writes only the
# package. VARIANT is the policy to build for, as in /etc/selinux/config; DEVEL is the
# directory of that policy's headers.
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

# The policy's Makefile builds in the current directory.
directory=$(mktemp -d "${TMPDIR:-/tmp}/crypto-auditing-selinux.XXXXXX")
trap 'rm -rf "$directory"' EXIT
cp "$sources/crypto_auditing.te" "$sources/crypto_auditing.if" "$sources/crypto_auditing.fc" "$directory"
# A module cannot test which permissions the policy defines.
if grep -q 'all_io_uring_perms.* allowed ' "$devel/include/support/all_perms.spt"; then
	export M4PARAM="${M4PARAM:-} -D io_uring_allowed"
fi
# Under another make, this one would inherit its flags.
unset MAKEFLAGS MFLAGS MAKELEVEL
make -s -C "$directory" -f "$devel/Makefile" NAME="$variant" crypto_auditing.pp
bzip2 -9 <"$directory/crypto_auditing.pp" >"$package"
