#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# host.sh FOLDER COMMAND...: runs a command among the files of the host, which the
# machine reads through virtiofs, in a FOLDER of the machine. What it writes is in
# memory. The machine's own files are in /machine. The caller made a new mount
# namespace.
set -eu
folder=/machine/$1
shift
modprobe -a virtiofs overlay
# SELinux knows the files of the machine alone.
label=context=system_u:object_r:usr_t:s0
mkdir -p /run/host
mount -t tmpfs -o "mode=755,$label" changes /run/host
mkdir /run/host/files /run/host/upper /run/host/work /run/host/root
mount -t virtiofs -o "ro,$label" host /run/host/files
root=/run/host/root
mount -t overlay -o "lowerdir=/run/host/files,upperdir=/run/host/upper,workdir=/run/host/work,$label" overlay $root
for path in dev proc sys; do
	mount --rbind /$path $root/$path
done
mount -t tmpfs -o mode=1777 tmp $root/tmp
mount -t tmpfs -o mode=755 run $root/run
mkdir $root/machine
mount --bind / $root/machine
# shellcheck disable=SC2016 # $0 and $@ are the shell's there
exec chroot $root /bin/sh -c 'cd "$0" && exec "$@"' "$folder" "$@"
