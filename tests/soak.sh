#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Tests that need many repetitions: kills, power cuts, races and fuzzing, some of them
# SOAK times as long as in "make check". Ends with the same kind of summary.
set -eu
cd "$(dirname "$0")/.."
soak=${SOAK:-20}

rm -rf build/report build/report.txt
go build -o build/reporter ./tests/report

tests() { # NAME ARGUMENT...
	printf '\n== %s\n' "$1"
	shift
	build/reporter test -timeout 24h -count=1 "$@" || :
}

tests "killed brokers, clients and writers" -race -run AcrossKills ./src/cmd/crau-broker -kills $((50 * soak))
tests "killed writers, read by another program" -run Killed ./src/internal/logstore/crash -rounds $((200 * soak))
tests "killed while counting for the inventory" -run Killed ./src/internal/inventory -rounds $((10 * soak))
tests "power cuts" -run PowerCuts -count "$soak" ./src/internal/logstore
tests "races" -race -shuffle=on -count "$soak" ./src/internal/broker/... ./src/internal/busservice ./src/internal/varlinkservice/...
tests "handshakes of programs that are large or take long to build" -run '^TestHandshakesOf.*AreRecorded$|UnusualHandshakes' ./tests/wire -everything
tests "the same programs, recorded by functions as well" -run '^TestHandshakesOf.*AreRecorded$|UnusualHandshakes|ByFunctions' ./tests/wire -everything -functions
tests "a million sides of handshakes by functions" -run ManyHandshakes ./tests/wire -everything
tests "programs that switch stacks, are killed or debugged, under load" -run 'NotHarmed' ./tests/wire -everything
tests "libraries of other suites and architectures" -run 'Packages|Compiler' ./src/internal/layout/decoder -everything
for kernel in '' --backports; do
	printf '\n== the same programs on another kernel, with probes at kernel functions %s\n' "$kernel"
	# shellcheck disable=SC2086 # an option or none
	BUILD=build tests/vm/run.sh --everything $kernel || :
	cp build/vm/results.json "build/report/vm$kernel.json" || :
done
printf '\n== on arm64\n'
build/reporter step "tests on arm64" tests/vm/arm64/run.sh || :
printf '\n== the inventory of a log of 4 GiB\n'
CRAU_BENCH_CHUNKS=50000 go run ./tests/bench/broker --only inventory --output build/soak-inventory.json || :
printf '\n== fuzz\n'
tests/fuzz.sh "${FUZZ:-$((4 * soak))}" || :

printf '\n== summary\n'
build/reporter summary build/report/*.json
