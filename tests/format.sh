#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Fails if gofmt would change a file.
set -eu
cd "$(dirname "$0")/.."
unformatted=$(gofmt -l bpf dbus src tests)
[ -z "$unformatted" ] && exit
echo "not formatted by gofmt:"
echo "$unformatted"
exit 1
