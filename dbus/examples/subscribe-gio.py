#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Prints what a durable subscription receives (python3-gi): subscribe-gio.py NAME

The broker continues it by itself after a restart.
"""

import sys

from gi.repository import Gio, GLib

NAME = "org.crypto_auditing.Broker"


def proxy(path, interface):
    return Gio.DBusProxy.new_for_bus_sync(
        Gio.BusType.SYSTEM, Gio.DBusProxyFlags.NONE, None, NAME, path, interface, None
    )


def signal(_, sender, name, arguments):
    if name == "Skipped":
        print("{2} entries were skipped: {3}".format(*arguments.unpack()), flush=True)
    elif name == "Events":
        groups, cursor = arguments.unpack()
        for sequence, context, start, end, attributes, data in groups:
            values = ", ".join(f"{key}={value}" for key, value in data)
            print(f"{sequence} {attributes.get('executable', '?')}: {values}", flush=True)


def start():
    """Starts the broker, as every call does; ends when there is one."""
    if broker.get_name_owner():
        return False
    broker.call("org.freedesktop.DBus.Peer.Ping", None, Gio.DBusCallFlags.NONE, -1, None, None)
    return True


def owner_changed(*_):
    if start():
        GLib.timeout_add_seconds(1, start)


broker = proxy("/org/crypto_auditing/Broker", NAME)
broker.connect("notify::g-name-owner", owner_changed)
subscription = proxy(
    broker.GetSubscription("(s)", sys.argv[1]), "org.crypto_auditing.Broker.Subscription"
)
subscription.connect("g-signal", signal)
subscription.Attach()  # signals are delivered from now on
print("attached", flush=True)
GLib.MainLoop().run()
