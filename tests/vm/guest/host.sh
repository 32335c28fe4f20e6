#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# host.sh DIRECTORY COMMAND...: runs a command in the root file system of the host,
# which the machine reads through virtiofs, and in DIRECTORY of the machine. Writes
# go to memory. The machine's own files are in /machine. It must run in a new mount
# namespace.
set -eu
directory=/machine/$1
shift
modprobe -a virtiofs overlay
# Only the files of the machine have labels of SELinux.
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
exec chroot $root /bin/sh -c 'cd "$0" && exec "$@"' "$directory" "$@"
