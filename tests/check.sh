#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Runs all checks, the fastest first. Ends with a summary: each failure with its output,
# the reason of each skip, and the counts. If a check of the sources fails, the tests are
# not run. FUZZ is the number of seconds for each fuzz target.
set -eu
cd "$(dirname "$0")/.."

# tests/report collects the results here.
rm -rf build/report build/report.txt
go build -o build/reporter ./tests/report

finish() {
	printf '\n== summary\n'
	set -- build/report/*.json
	[ -e "$1" ] || set --
	build/reporter summary "$@"
	exit
}

status=0
step() { # NAME COMMAND...
	printf '\n== %s\n' "$1"
	build/reporter step "$@" || status=1
}
tests() { # NAME ARGUMENT...
	printf '\n== %s\n' "$1"
	shift
	build/reporter test "$@" || status=1
}

step format tests/format.sh
step licences tests/licences.sh
step modules sh -euc '
	go mod verify
	go mod tidy -diff
	cd tests/tools && go mod tidy -diff'
step vet sh -euc '
	go vet ./...
	GOARCH=arm64 go build ./...
	GOARCH=arm64 go vet ./...
	cd tests/tools && go vet ./...'
# The linter is built in tests/tools, which has its modules: those in a tarball are only
# the project's. The linter shares its default cache between all trees of a module, and
# would report files of other trees. Another linter may run on this machine.
step lint env GOLANGCI_LINT_CACHE="$PWD/build/golangci-lint" sh -euc '
	"$(go -C tests/tools tool -n golangci-lint)" run --allow-parallel-runners ./...'
step "generated files" tests/drift.sh
[ $status -eq 0 ] || finish

# Some packages take two minutes, or ten on a slow machine.
tests tests -timeout 30m -race -shuffle=on ./...
tests "memory, which the race detector multiplies" -count=1 -run TestAStoppedClient ./src/cmd/crau-broker
printf '\n== fuzz\n'
tests/fuzz.sh "${FUZZ:-4}" || :
finish
