#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Runs all benchmarks: a table, and build/bench.json.
set -eu
cd "$(dirname "$0")/.."
rm -f build/bench.json
for dir in tests/bench tests/bench/store tests/bench/broker; do
	[ ! -f "$dir/main.go" ] || go run "./$dir" "$@"
done
