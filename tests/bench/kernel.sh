#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Prints the path of a kernel for the emulated machine: the kernel of make check-vm,
# or else Debian's, which is cached. Installs missing packages.
set -eu
cd "$(dirname "$0")/../.."
cache=${XDG_CACHE_HOME:-$HOME/.cache}/crypto-auditing
tests/vm/setup.sh >&2
for kernel in "$cache/vm/$(tests/vm/image.sh --key)/vmlinuz" "$cache/bench/vmlinuz"; do
	[ -s "$kernel" ] && echo "$kernel" && exit
done
mkdir -p "$cache/bench"
directory=$(mktemp -d "$cache/bench/XXXXXX")
trap 'rm -rf "$directory"' EXIT
chmod 755 "$directory"
cd "$directory"
package=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: //p' | head -n 1)
apt-get -qq download "$package" >&2
dpkg-deb --fsys-tarfile ./*.deb | tar -xf - --wildcards './boot/vmlinuz-*'
mv boot/vmlinuz-* "$kernel"
echo "$kernel"
