#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# world.sh DIRECTORY STAGE...: process 1 of a disposable machine without a service
# manager. The caller created new mount, PID and IPC namespaces.
#
# The machine's root is an overlay of / whose upper layer is a tmpfs at DIRECTORY;
# the files of each STAGE are copied over it. The kernel and its tracing are
# shared with the host. The tests start the bus and the services.
set -eu
. "${0%/*}/root.sh"
overlay "$1"
shift
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"

# Do the same as a package, and create users with and without access.
install_stages "$@"
systemd-tmpfiles --root="$root" --create --prefix=/run/crypto-auditing --prefix=/run/varlink crypto-auditing.conf
chroot "$root" useradd --no-create-home --groups crypto-auditing member
chroot "$root" useradd --no-create-home stranger
chroot "$root" useradd --no-create-home other
mkdir -p "$root/run/dbus" "$root/run/test"
chmod 1777 "$root/run/test"
chroot "$root" install -d -o crypto-auditing -g crypto-auditing -m 750 /var/log/crypto-auditing
chroot "$root" install -d -o crypto-auditing-broker -g crypto-auditing-broker -m 700 /var/lib/crypto-auditing
chroot "$root" install -d -o crypto-auditing-inventory -g crypto-auditing-inventory -m 700 /var/lib/crypto-auditing-inventory
# Without a service manager the bus starts broker and inventory itself, if it can.
for service in Broker:crau-broker Inventory:crau-inventory; do
	sed -i "s,^Exec=.*,Exec=/usr/bin/${service#*:},; /^SystemdService=/d" \
		"$root/usr/share/dbus-1/system-services/org.crypto_auditing.${service%:*}.service"
done
# Calls must not start other services of the host.
find "$root"/usr/share/dbus-1/system-services "$root"/usr/local/share/dbus-1 -name '*.service' \
	! -name 'org.crypto_auditing.*.service' -delete 2>/dev/null || :

enter 'echo ready; exec sleep infinity'
