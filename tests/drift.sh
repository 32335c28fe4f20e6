#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Regenerates the committed BPF objects and fails if they differ. Objects depend
# on the compiler: with another major version of clang than the one they were
# made with, they are compiled and not compared.
set -eu
cd "$(dirname "$0")/.."

made_with=14
have=$(clang --version | sed -n 's/.*clang version \([0-9]*\).*/\1/p')
same=yes
for dir in bpf tests/bench/counter; do
	copy=build/drift/$dir
	rm -rf "$copy"
	mkdir -p "$copy"
	cp -r "$dir/." "$copy"
	(cd "$copy" && rm -f ./*_bpfel.* && go generate ./*.go)
	[ "$have" = "$made_with" ] || continue
	for file in "$dir"/*_bpfel.*; do
		cmp "$file" "$copy/$(basename "$file")" || same=no
	done
done
if [ "$have" != "$made_with" ]; then
	echo "clang $have compiles the BPF programs; the objects were made with clang $made_with and are not compared"
elif [ $same = no ]; then
	echo "run 'make generate': BPF objects are not what their sources give"
	exit 1
else
	echo "the BPF objects are what their sources give"
fi
