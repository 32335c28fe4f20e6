#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Prints the version: the content of the file VERSION and, on commits after that
# version's tag, their number and the abbreviated commit. Without the tag, as in a
# shallow clone or a tarball, it is only the content of the file.
set -eu
cd "$(dirname "$0")"

version=$(cat VERSION)
# A tarball may be unpacked inside another repository: ignore that one.
if [ -e .git ]; then
	described=$(git describe --tags --match "v$version" 2>/dev/null) || described=
	case $described in
	"v$version-"*)
		# v0.1.0-5-g0123abc becomes 0.1.0+5.g0123abc: a semantic version, and an RPM
		# version that sorts after 0.1.0.
		after=${described#"v$version-"}
		version=$version+${after%-*}.${after#*-}
		;;
	esac
fi
echo "$version"
