#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Regenerates all generated files in a copy of the sources, and fails if one differs:
# BPF objects and their Go code, tables of names and of TLS, the code of the varlink
# interfaces, the documents of the D-Bus API.
#
# BPF objects depend on the compiler: if clang has another major version than the one
# that built them, they are compiled and not compared. The names of IANA come from a Go
# module; if it cannot be downloaded, they are not compared.
set -eu
cd "$(dirname "$0")/.."

made_with=14
copy=build/drift/tree
rm -rf build/drift
mkdir -p $copy
tar --exclude=./build --exclude=./.git -c . | tar -C $copy -x
cd $copy
rm -f bpf/*_bpfel.* tests/bench/counter/*_bpfel.*
left_out=

source=$(sed -n 's/^\t\(module\|version\) *= "\(.*\)"$/\2/p' src/internal/schema/ianagen/main.go | paste -sd @)
packages=$(grep -rl --include=*.go '^//go:generate' bpf dbus src tests | xargs -n 1 dirname | sort -u)
for package in $packages; do
	if [ "$package" = src/internal/schema ] && ! (cd /tmp && go mod download "$source") 2>/dev/null; then
		echo "$source cannot be downloaded: the names of IANA are not compared"
		continue
	fi
	go generate "./$package"
done
have=$(clang --version | sed -n 's/.*clang version \([0-9]*\).*/\1/p')
if [ "$have" != $made_with ]; then
	echo "this machine has clang $have: the BPF objects, built with clang $made_with, are not compared"
	left_out='-x *_bpfel.*'
fi
cd ../../..
# shellcheck disable=SC2086 # words are meant to be split
if ! diff -rq -x build -x .git $left_out . $copy; then
	echo "run 'make generate' and commit the changes"
	exit 1
fi
echo "all generated files match their sources"
