#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# All checks, in the order in which they fail fastest. Ends with a summary: what
# failed and why, the reason of every skip, the counts. When the sources themselves
# are not in order, the tests are not run. FUZZ sets the seconds for each fuzz target.
set -eu
cd "$(dirname "$0")/.."

# Results are collected here, see tests/report.
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
# Built where its modules are: those of a tarball are the project's own alone.
# A cache of its own: the linter's is for all trees of a module, and tells of
# files in others. Another one may run elsewhere on the machine.
step lint env GOLANGCI_LINT_CACHE="$PWD/build/golangci-lint" sh -euc '
	"$(go -C tests/tools tool -n golangci-lint)" run --allow-parallel-runners ./...'
step "generated files" tests/drift.sh
[ $status -eq 0 ] || finish

# Some packages take two minutes, and on a slow machine ten.
tests tests -timeout 30m -race -shuffle=on ./...
tests "memory, which the race detector multiplies" -count=1 -run TestAStoppedClient ./src/cmd/crau-broker
printf '\n== fuzz\n'
tests/fuzz.sh "${FUZZ:-4}" || :
finish
