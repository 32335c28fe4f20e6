#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Tests the installed project on a whole machine: Debian 12 with its own kernel,
# systemd, bus and audit, SELinux enforcing, in QEMU without hardware virtualisation.
# README.md has more.
#
#   run.sh                 all tests
#   run.sh -run PATTERN    the tests that match
#   run.sh --permissive    SELinux only logs denials
#   run.sh --shell         a shell on the machine
#   run.sh --backports     with the newest kernel that Debian has for this release
#   run.sh --everything    with the handshakes of all programs of tests/wire
#   run.sh --wire PATTERN  with the tests of tests/wire that match
#
# BUILD is meson's directory, VM_TIMEOUT the timeout of the machine in seconds,
# XDG_CACHE_HOME the directory in which its base is cached.
set -euo pipefail
cd "$(dirname "$0")/../.."
build=$(realpath "${BUILD:-build}")
cache=${XDG_CACHE_HOME:-$HOME/.cache}/crypto-auditing/vm
out=$build/vm
pattern='' shell='' enforcing=1 kernel='' everything=''
while [ $# -gt 0 ]; do
	case $1 in
	--shell) shell=yes ;;
	--permissive) enforcing=0 ;;
	--backports) kernel=backports ;;
	--everything) everything=all ;;
	--wire) everything=$2 && shift ;;
	-run) pattern=$2 && shift ;;
	*) echo "usage: run.sh [--shell] [--permissive] [--backports] [--everything | --wire PATTERN] [-run PATTERN]" >&2 && exit 2 ;;
	esac
	shift
done

limit=${VM_TIMEOUT:-$([ -z "$everything" ] && echo 1200 || echo 7200)}
say() { printf 'check-vm: %3d s: %s\n' $SECONDS "$*"; }
fail() {
	echo "check-vm: $*" >&2
	exit 1
}
PATH=$PATH:/usr/sbin:/sbin
[ "$(uname -m)" = x86_64 ] || fail "the machine is an x86-64 one, this is $(uname -m)"
tests/vm/setup.sh
# Only root can set the owners and labels of the machine's files.
[ "$(id -u)" -eq 0 ] || fail "please run as root"

rm -rf "$out"
mkdir -p "$out" "$cache"
# Other runs wait until the disk is made.
exec 9>"$cache/lock"
flock 9

base=$cache/$(tests/vm/image.sh --key)
if [ -e "$base" ] && ! tests/vm/image.sh --check "$base"; then
	say "the base of the machine in $cache is damaged"
	rm -rf --one-file-system "$base"
fi
if [ ! -e "$base" ]; then
	say "making the base of the machine in $cache, once; some minutes"
	# Its mounts disappear with its namespace, even if it fails.
	timeout 1500 unshare --mount --propagation private tests/vm/image.sh "$base" 2>&1 |
		tee "$out/image.log" | sed -un 's/^I: /check-vm:        /p' || {
		tail -n 30 "$out/image.log" >&2
		fail "cannot make the base of the machine; the output is in $out/image.log"
	}
	# Removes the bases of other versions of image.sh, and policies, which are built quickly.
	find "$cache" -mindepth 1 -maxdepth 1 ! -path "$base*" ! -name lock -exec rm -rf {} +
fi

arguments="-test.timeout ${limit}s" boot=$base processor=Nehalem
if [ "$kernel" = backports ]; then
	# QEMU 7.2 emulates cmpxchg16b wrongly, which newer kernels use to allocate memory.
	boot=$base-backports processor=Nehalem,cx16=off
	[ -e "$boot" ] || say "getting a newer kernel, once"
	tests/vm/kernel.sh "$boot" "$base" bookworm-backports >"$out/kernel.log" 2>&1 || {
		tail -n 30 "$out/kernel.log" >&2
		fail "cannot get the kernel"
	}
	version=$(ls "$boot/modules")
	say "the kernel is $version"
	arguments="$arguments -kernel $(echo "$version" | cut -d . -f 1,2)"
fi
[ -z "$everything" ] || arguments="$arguments -matrix $everything"

say "building programs, publishers and tests"
stage=$out/stage
make -s -C tests/publishers OUT="$stage/opt/test/bin" >"$out/build.log" 2>&1 || {
	cat "$out/build.log" >&2
	fail "cannot build the publishers"
}
rm -r "$stage/opt/test/bin/obj"
mkdir "$stage/opt/test/lib"
mv "$stage"/opt/test/bin/*.so "$stage/opt/test/lib"
cp tests/data/probe-traces/*.txt "$stage/opt/test"
CGO_ENABLED=0 go build -o "$stage/opt/test/bin/intruder" ./tests/vm/intruder
CGO_ENABLED=0 go test -c -tags vm -o "$stage/opt/test/bin/tests" ./tests/vm/guest
CGO_ENABLED=0 go test -c -o "$stage/opt/test/bin/sockets" ./src/internal/probe/sockets
CGO_ENABLED=0 go test -c -o "$stage/opt/test/bin/probe" ./src/internal/probe
# The compared programs are those of the host; the others are built here.
CGO_ENABLED=0 go test -c -o "$stage/opt/test/bin/wire" ./tests/wire
mkdir "$stage/opt/test/wire" "$stage/opt/test/programs"
cp -r tests/wire/programs "$stage/opt/test/wire"
if [ -n "$everything" ]; then
	tests/setup.sh soak
	go -C tests/tools build -o "$stage/opt/test/programs/wt-quic" ./quic
	go -C tests/tools build -o "$stage/opt/test/programs/wt-dtls" ./dtls
	for name in rustls dimpl; do
		cargo build --quiet --locked --manifest-path "tests/wire/programs/$name/Cargo.toml" --target-dir "$out/$name"
		cp "$out/$name/debug/$name-pair" "$stage/opt/test/programs"
	done
fi
# A newer version for the upgrade.
for program in crauctl crau-agent crau-broker; do
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags='-s -w -X main.version=99.0' -o "$stage/opt/test/upgrade/$program" "./src/cmd/$program"
done
DESTDIR=$stage meson install -C "$build" --no-rebuild --quiet
install -D -m 644 -t "$stage/etc/systemd/system" tests/vm/guest/*.service
install -t "$stage/opt/test/bin" tests/vm/guest/host.sh
install -t "$stage/opt/test/programs" "$stage/usr/bin/crau-agent" "$stage/usr/bin/crauctl"
printf 'PATTERN=%s\nARGUMENTS=%s\n' "${pattern:-.}" "$arguments" >"$stage/opt/test/environment"

say "installing them on the machine"
unshare --mount --propagation private tests/vm/disk.sh "$base" "$stage" "$cache" "$out/disk" ${kernel:+"$boot/modules"} >"$out/install.log" 2>&1 || {
	tail -n 30 "$out/install.log" >&2
	fail "cannot make the machine's disk; the output is in $out/install.log"
}
# Other runs need not wait for this machine.
flock -u 9

# The machine can read the host's files, but not write them.
share=$(mktemp -d)
mkdir "$share/root"
# shellcheck disable=SC2016 # $1 is the other shell's
unshare --mount --propagation private sh -euc '
	mount --bind / "$1/root"
	mount -o remount,bind,ro "$1/root"
	exec /usr/lib/qemu/virtiofsd --socket-path="$1/socket" --rlimit-nofile="$(ulimit -Hn)" -o "source=$1/root" -o cache=always' \
	sh "$share" >"$out/virtiofsd.log" 2>&1 &
server=$!
# The server exits with the machine, unless that never started.
trap 'kill $server 2>/dev/null || :; rmdir "$share/root" && rm -r "$share" || :' EXIT
until [ -S "$share/socket" ]; do
	kill -0 $server 2>/dev/null || {
		cat "$out/virtiofsd.log" >&2
		fail "cannot share the host's files"
	}
	sleep 0.1
done

# A processor with more instructions would be slower: all of them are emulated.
memory=$([ -z "$everything" ] && echo 2048 || echo 4096)
qemu=(qemu-system-x86_64 -accel 'tcg,thread=multi' -cpu "$processor" -smp 2 -m "$memory" -nodefaults -no-user-config -display none -no-reboot
	-object "memory-backend-memfd,id=memory,size=${memory}M,share=on" -machine memory-backend=memory
	-chardev "socket,id=host,path=$share/socket" -device vhost-user-fs-pci,chardev=host,tag=host
	-kernel "$boot/vmlinuz" -initrd "$boot/initrd"
	-drive "file=$out/disk,format=raw,if=virtio,cache=unsafe")
parameters="root=/dev/vda rw console=ttyS0 security=selinux selinux=1 enforcing=$enforcing nokaslr mitigations=off quiet"
if [ -n "$shell" ]; then
	say "booting a shell; 'exit' or Control-A x ends it"
	"${qemu[@]}" -serial mon:stdio -append "$parameters systemd.mask=tests.service systemd.wants=shell.service"
	exit
fi

say "booting, for $limit s at most"
# The tests write to the second serial line.
status=0
timeout --foreground "$limit" "${qemu[@]}" -serial "file:$out/console.log" -serial stdio -append "$parameters systemd.show_status=no" </dev/null |
	tee "$out/tests.log" | sed -un 's/\r$//; s/^--- \(PASS\|FAIL\|SKIP\): /check-vm: \1 /p' || status=$?

# Copies the machine's logs, even after a timeout.
e2fsck -p "$out/disk" >/dev/null 2>&1 || :
for path in journal audit; do
	debugfs -R "rdump /var/log/$path $out" "$out/disk" >/dev/null 2>&1 || :
done
journalctl --directory "$out/journal" --no-pager -o short-monotonic >"$out/journal.txt" 2>/dev/null || :
case $status in
0) ;;
124) say "the machine did not finish within $limit s (VM_TIMEOUT)" ;;
*) say "QEMU ended with status $status" ;;
esac
go run ./tests/vm/result "$out"
