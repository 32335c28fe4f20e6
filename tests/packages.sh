#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Unpacks packages of a Debian suite for any architecture, without installing
# them, for tests that only read their files. Does nothing if DIR is already complete.
# Packages that the suite does not have are skipped.
#
#	packages.sh DIR SUITE ARCHITECTURE PACKAGE...
#
# SUITE may be "this", for the suite of this machine. +PACKAGE is the first dependency of
# PACKAGE. The files are in DIR/root. Exits with 77 if this machine has no access to
# Debian's packages.
set -eu
dir=$1 suite=$2 architecture=$3
shift 3
skip() { echo "$*"; exit 77; }

command -v apt-get >/dev/null || skip "this machine has no apt-get"
found=$(apt-get indextargets --format '$(ORIGIN) $(COMPONENT) $(CODENAME) $(REPO_URI)' 'Created-By: Packages' |
	awk '$1 == "Debian" && $2 == "main" && $3 !~ /-/ { print $3, $4; exit }')
[ -n "$found" ] || skip "this machine does not use Debian's packages"
[ "$suite" != this ] || suite=${found% *}
[ ! -e "$dir/complete" ] || exit 0

mkdir -p "$dir/state/lists/partial" "$dir/cache/archives/partial" "$dir/packages" "$dir/root"
dir=$(cd "$dir" && pwd)
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
echo "deb [arch=$architecture signed-by=$keyring] ${found#* } $suite main" >"$dir/sources.list"
: >"$dir/status"
apt() { # get|cache ARGUMENT...
	program=apt-$1
	shift
	"$program" -q -o Dir::Etc::SourceList="$dir/sources.list" -o Dir::Etc::SourceParts=/dev/null \
		-o Dir::State="$dir/state" -o Dir::State::status="$dir/status" -o Dir::Cache="$dir/cache" \
		-o APT::Architecture="$architecture" -o APT::Architectures::="$architecture" \
		-o Acquire::Languages=none -o Acquire::Retries=1 "$@"
}
apt get -o APT::Update::Error-Mode=any update >"$dir/log" 2>&1 || skip "the suite $suite cannot be reached: $(tail -n 1 "$dir/log")"
for package; do
	case $package in
	+*) package=$(apt cache depends "${package#+}" | sed -n 's/.*Depends: //p' | head -n 1) ;;
	esac
	(cd "$dir/packages" && apt get download "$package") >>"$dir/log" 2>&1 || :
done
for file in "$dir"/packages/*.deb; do
	[ -e "$file" ] || skip "the suite $suite has none of these packages: $*"
	dpkg-deb -x "$file" "$dir/root"
done
rm -rf "$dir/state" "$dir/cache" "$dir/packages"
: >"$dir/complete"
