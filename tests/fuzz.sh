#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Runs every fuzz target for a number of seconds each: fuzz.sh SECONDS
set -eu
cd "$(dirname "$0")/.."

# Minimising what is merely interesting would take the time away.
fuzz() { # DIR TARGET SECONDS
	go test -run '^$' -fuzz "^$2\$" -fuzztime "${3}s" -fuzzminimizetime 10x "./$1" >build/fuzz.log 2>&1
}

for dir in $(grep -rl --include='*_test.go' '^func Fuzz' dbus src tests | xargs -n1 dirname | sort -u); do
	for target in $(go test -list '^Fuzz' "./$dir" | grep '^Fuzz'); do
		echo "$dir $target"
		fuzz "$dir" "$target" "$1" && continue
		# When the time ends in the middle of an input, go test says no more
		# than this; with more time it tells an input that hangs, and what it
		# is, from a machine that is busy.
		if grep -q 'context deadline exceeded' build/fuzz.log && ! grep -q 'Failing input' build/fuzz.log; then
			echo "$dir $target again: the time ended in the middle of an input"
			fuzz "$dir" "$target" 60 && continue
		fi
		cat build/fuzz.log
		exit 1
	done
done
