#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Prints the version: what is in the file VERSION and, on commits after that
# version's tag, how many and which. Without the tag, as in a shallow clone or a
# tarball, it is the file alone.
set -eu
cd "$(dirname "$0")"

version=$(cat VERSION)
# Not the repository around a tarball that was unpacked inside of one.
if [ -e .git ]; then
	described=$(git describe --tags --match "v$version" 2>/dev/null) || described=
	case $described in
	"v$version-"*)
		# v0.1.0-5-g0123abc: RPM and semantic versions take 0.1.0+5.g0123abc,
		# and both have it after 0.1.0.
		after=${described#"v$version-"}
		version=$version+${after%-*}.${after#*-}
		;;
	esac
fi
echo "$version"
