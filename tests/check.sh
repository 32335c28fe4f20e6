#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# All checks, in the order in which they fail fastest. Ends with a count of
# tests and the reason of every skip. FUZZ sets the seconds for each fuzz target.
set -eu
cd "$(dirname "$0")/.."

step() { printf '\n== %s\n' "$*"; }

step format
unformatted=$(gofmt -l bpf dbus src tests)
[ -z "$unformatted" ] || { echo "not formatted by gofmt: $unformatted"; exit 1; }

step licences
tests/licences.sh

step modules
go mod verify
go mod tidy -diff
(cd tests/tools && go mod tidy -diff)

step vet
go vet ./...
GOARCH=arm64 go vet ./bpf/... ./dbus/... ./src/...
(cd tests/tools && go vet ./...)

step lint
# Built where its modules are: those of a tarball are the project's own alone.
# A cache of its own: the linter's is for all trees of a module, and tells of
# files in others.
GOLANGCI_LINT_CACHE=$PWD/build/golangci-lint "$(go -C tests/tools tool -n golangci-lint)" run ./...

step generated files
tests/drift.sh

step tests
go run ./tests/report -race -shuffle=on ./...

step memory, which the race detector multiplies
go test -count=1 -run TestAStoppedClient ./src/cmd/crau-broker

step fuzz
tests/fuzz.sh "${FUZZ:-4}"

echo
cat build/report.txt
