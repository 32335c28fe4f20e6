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
copy=build/drift
rm -rf "$copy"
mkdir -p "$copy"
cp -r bpf/. "$copy"
(cd "$copy" && rm -f audit_*_bpfel.* && go generate ./bpf.go)
if [ "$have" != "$made_with" ]; then
	echo "clang $have compiles the BPF programs; the objects were made with clang $made_with and are not compared"
	exit 0
fi
for file in bpf/audit_*_bpfel.*; do
	cmp "$file" "$copy/$(basename "$file")" || {
		echo "run 'make generate': $file is not what its sources give"
		exit 1
	}
done
echo "the BPF objects are what their sources give"
