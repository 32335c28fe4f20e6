#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Usage: rpm/build.sh TARBALL DIRECTORY [ARGUMENT OF RPMBUILD]...
#
# Builds the packages from a tarball of "meson dist" below a directory; without
# arguments all of them (-ba). If rpmbuild lacks Fedora's macros, it gets the tests'
# replacements, and does not check whether the build requirements are installed.
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
