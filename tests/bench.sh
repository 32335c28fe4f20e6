#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Runs all benchmarks. Prints a table, and writes build/bench.json, and
# build/bench-table.json with targets and notes. tests/bench/README.md describes the
# options. A missed target is not a failure. If one part fails, the others still run.
set -eu
cd "$(dirname "$0")/.."
rm -f build/bench.json build/bench-table.json
failed=
for dir in tests/bench tests/bench/code tests/bench/query tests/bench/broker; do
	go run "./$dir" --later "$@" || failed="$failed $dir"
done
echo
go run ./tests/bench/table
[ -z "$failed" ] || {
	echo "FAILED:$failed"
	exit 1
}
