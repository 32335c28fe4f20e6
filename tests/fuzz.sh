#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Runs every fuzz target for a number of seconds each: fuzz.sh SECONDS
set -eu
cd "$(dirname "$0")/.."

for dir in $(grep -rl --include='*_test.go' '^func Fuzz' dbus src tests | xargs -n1 dirname | sort -u); do
	for target in $(go test -list '^Fuzz' "./$dir" | grep '^Fuzz'); do
		echo "$dir $target"
		# Minimising what is merely interesting would take the time away.
		go test -run '^$' -fuzz "^$target\$" -fuzztime "${1}s" -fuzzminimizetime 10x "./$dir" >build/fuzz.log 2>&1 ||
			{ cat build/fuzz.log; exit 1; }
	done
done
