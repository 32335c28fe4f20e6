#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Runs each fuzz target, or only one, for a number of seconds. If one fails, the others
# still run.
#
#	fuzz.sh SECONDS [DIR TARGET]
set -eu
cd "$(dirname "$0")/.."

# Minimising interesting inputs would use up the time.
fuzz() { # SECONDS DIR TARGET
	go test -run '^$' -fuzz "^$3\$" -fuzztime "${1}s" -fuzzminimizetime 10x "./$2" >build/fuzz.log 2>&1
}

mkdir -p build
if [ $# -eq 3 ]; then
	fuzz "$@" && exit
	# go test only reports this error if the time ends during an input. With more
	# time, it reports the input if that hangs, and succeeds if the machine was busy.
	if grep -q 'context deadline exceeded' build/fuzz.log && ! grep -q 'Failing input' build/fuzz.log; then
		echo "retrying for 60 seconds: the time ended during an input" >&2
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
