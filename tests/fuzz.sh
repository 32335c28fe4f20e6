#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Runs every fuzz target for a number of seconds each, or one of them. A target that
# fails does not keep the others from their turn.
#
#	fuzz.sh SECONDS [DIR TARGET]
set -eu
cd "$(dirname "$0")/.."

# Minimising what is merely interesting would take the time away.
fuzz() { # SECONDS DIR TARGET
	go test -run '^$' -fuzz "^$3\$" -fuzztime "${1}s" -fuzzminimizetime 10x "./$2" >build/fuzz.log 2>&1
}

mkdir -p build
if [ $# -eq 3 ]; then
	fuzz "$@" && exit
	# When the time ends in the middle of an input, go test says no more
	# than this; with more time it tells an input that hangs, and what it
	# is, from a machine that is busy.
	if grep -q 'context deadline exceeded' build/fuzz.log && ! grep -q 'Failing input' build/fuzz.log; then
		echo "again: the time ended in the middle of an input" >&2
		fuzz 60 "$2" "$3" && exit
	fi
	cat build/fuzz.log
	exit 1
fi

go build -o build/reporter ./tests/report
status=0
for dir in $(grep -rl --include='*_test.go' '^func Fuzz' dbus src tests | xargs -n1 dirname | sort -u); do
	for target in $(go test -list '^Fuzz' "./$dir" | grep '^Fuzz'); do
		echo "$dir $target"
		build/reporter step "fuzz $dir $target" tests/fuzz.sh "$1" "$dir" "$target" || status=1
	done
done
exit $status
