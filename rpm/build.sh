#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Usage: rpm/build.sh TARBALL FOLDER [ARGUMENT OF RPMBUILD]...
#
# Builds the packages of a tarball of "meson dist" below a directory; without
# arguments all of them (-ba). Where rpmbuild lacks Fedora's macros it gets those
# of the tests, and what a build needs is not looked for among the installed
# packages.
set -eu

tarball=$1 directory=$(realpath -m "$2")
shift 2
[ $# -gt 0 ] || set -- -ba
if [ "$(rpm --eval '%{?_unitdir}')" = '' ]; then
	tests=$(realpath "$(dirname "$0")/../tests/package")
	set -- --load="$tests/fedora.macros" --define "_fileattrsdir $tests/fileattrs" --nodeps "$@"
fi

mkdir -p "$directory/SOURCES" "$directory/SPECS"
cp "$tarball" "$directory/SOURCES"
spec=$directory/SPECS/crypto-auditing.spec
tar -xJOf "$tarball" --wildcards '*/rpm/crypto-auditing.spec' >"$spec"
exec rpmbuild --define "_topdir $directory" "$@" "$spec"
