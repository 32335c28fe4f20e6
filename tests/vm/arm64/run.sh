#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Tests the project on arm64: a machine with Debian 13 and its kernel, in QEMU. Everything
# is built here; the machine has no disk, services or compilers. README.md of the
# directory above has more.
#
#   run.sh                 all tests
#   run.sh -run PATTERN    the tests that match
#   run.sh --shell         a shell on the machine
#
# VM_TIMEOUT is the timeout of the machine in seconds, XDG_CACHE_HOME the directory in which
# its base is cached. SUITE is another suite of Debian and KERNEL another kernel package, such as
# linux-image-arm64-16k for pages of 16 KiB.
set -euo pipefail
cd "$(dirname "$0")/../../.."
suite=${SUITE:-trixie}
kernel=${KERNEL:-linux-image-cloud-arm64}
limit=${VM_TIMEOUT:-1800}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/crypto-auditing/vm-arm64
out=$PWD/build/vm-arm64
pattern='' shell=''
while [ $# -gt 0 ]; do
	case $1 in
	--shell) shell=yes ;;
	-run) pattern=$2 && shift ;;
	*) echo "usage: run.sh [--shell] [-run PATTERN]" >&2 && exit 2 ;;
	esac
	shift
done

say() { printf 'arm64: %3d s: %s\n' $SECONDS "$*"; }
fail() {
	echo "arm64: $*" >&2
	exit 1
}
tests/vm/setup.sh arm64
[ "$(id -u)" -eq 0 ] || fail "please run as root"
rm -rf "$out"
mkdir -p "$out" "$cache"
# The first run makes the base, others wait for it.
exec 9>"$cache/lock"
flock 9
base=$cache/$(cat tests/vm/arm64/base.sh - <<<"$suite $kernel" | sha256sum | cut -c 1-16)
if [ ! -e "$base" ]; then
	say "making the base of the machine in $cache, once"
	tests/vm/arm64/base.sh "$suite" "$kernel" "$base" >"$out/base.log" 2>&1 || {
		tail -n 30 "$out/base.log" >&2
		fail "cannot make the base of the machine"
	}
fi
flock -u 9

say "building programs, publishers and tests"
stage=$out/stage
project=$stage/project
mkdir -p "$project/ready/bin" "$project/tests/data"
export GOOS=linux GOARCH=arm64 CGO_ENABLED=0
go build -o "$project/ready/bin/" ./src/cmd/crau-agent ./src/cmd/crauctl
# The publishers use the machine's OpenSSL, which may need a newer C library than that of the
# cross compiler.
mkdir "$out/lib"
ln -s "$base"/root/usr/lib/aarch64-linux-gnu/libssl.so.3 "$out/lib/libssl.so"
ln -s "$base"/root/usr/lib/aarch64-linux-gnu/libcrypto.so.3 "$out/lib/libcrypto.so"
ln -s "$base"/root/usr/lib/aarch64-linux-gnu/libgnutls.so.30 "$out/lib/libgnutls.so"
# The headers of the machine's C library do not match that of the cross compiler.
mkdir "$out/include"
cp -r "$base"/root/usr/include/{openssl,gnutls,aarch64-linux-gnu/openssl} "$out/include"
cc=(aarch64-linux-gnu-gcc -O2 "-I$out/include")
link=("-L$out/lib" -Wl,--allow-shlib-undefined)
make -s -C tests/publishers OUT="$project/ready/publishers" CC="${cc[*]}" LDFLAGS="${link[*]}" >"$out/build.log" 2>&1 || {
	cat "$out/build.log" >&2
	fail "cannot build the publishers"
}
rm -r "$project/ready/publishers/obj"
"${cc[@]}" "${link[@]}" -o "$project/ready/bin/handshakes" tests/wire/programs/handshakes.c -lssl -lcrypto -lpthread
"${cc[@]}" "${link[@]}" -o "$project/ready/bin/session_keys" tests/wire/programs/session_keys.c -lgnutls
cp -r tests/data/probe-traces "$project/tests/data"
cp tests/vm/arm64/init "$stage/init"
while read -r package names options; do
	[ -n "$package" ] && [ "${package#\#}" = "$package" ] || continue
	go test -c -o "$project/$package/test" "./$package"
	[ ! -d "$package/testdata" ] || cp -r "$package/testdata" "$project/$package"
	echo "$package ${pattern:-$names} $options" >>"$stage/tests"
done <tests/vm/arm64/tests
unset GOOS GOARCH CGO_ENABLED
cp "$base/initrd" "$out/initrd"
(cd "$stage" && find . | cpio --quiet -o -H newc -R 0:0) >>"$out/initrd"

# Programs for this architecture may sign pointers and return addresses, and mark the targets
# of branches. Without "impdef" QEMU signs by a slow algorithm.
qemu=(qemu-system-aarch64 -machine virt -accel 'tcg,thread=multi' -cpu max,pauth-impdef=on,sve=off,lpa2=off -smp 2 -m 3072
	-nodefaults -no-user-config -display none -no-reboot -kernel "$base/kernel" -initrd "$out/initrd")
arguments="console=ttyAMA0 rdinit=/init panic=-1 nokaslr mitigations=off"
if [ -n "$shell" ]; then
	say "booting a shell; 'exit' or Control-A x ends it"
	exec "${qemu[@]}" -serial mon:stdio -append "$arguments quiet shell"
fi
say "booting, for $limit s at most"
status=0
timeout --foreground "$limit" "${qemu[@]}" -serial stdio -append "$arguments quiet" </dev/null |
	tee "$out/console.log" | sed -un 's/\r$//; s/^\(--- \(PASS\|FAIL\|SKIP\): .*\|=== PACKAGE .*\)/arm64: \1/p' || status=$?
case $status in
0) ;;
124) say "the machine did not finish within $limit s (VM_TIMEOUT)" ;;
*) say "QEMU ended with status $status" ;;
esac

sed -i 's/\r$//' "$out/console.log"
count() { grep -c "$1" "$out/console.log" || :; }
# Prints the output of skipped and failed tests.
awk '
	/^=== (RUN|PACKAGE)/ { if ($3 !~ /\//) text = ""; next }
	/^--- (FAIL|SKIP)/ { print text $0; text = ""; next }
	/^--- PASS/ { text = ""; next }
	{ text = text $0 "\n" }
	/^(PASS|FAIL|panic: .*)$/ { if (/panic/) print text }' "$out/console.log"
say "the output of the machine is in $out/console.log: $(count '^--- PASS') passed, $(count '^--- FAIL') failed, $(count '^--- SKIP') skipped"
[ "$(count '^--- FAIL')" -eq 0 ] || fail "tests failed"
[ "$(count '^=== DONE')" -eq 1 ] && [ "$(count '^PASS$')" -eq "$(wc -l <"$stage/tests")" ] || fail "not all tests have finished"
