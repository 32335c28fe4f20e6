#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Prints groups of TLS as they are recorded (python3-dbus, python3-gi)."""

import dbus
import dbus.mainloop.glib
from gi.repository import GLib

NAME = "org.crypto_auditing.Broker"
SUBSCRIPTION = "org.crypto_auditing.Broker.Subscription"

dbus.mainloop.glib.DBusGMainLoop(set_as_default=True)
bus = dbus.SystemBus()
cursor = None  # the position up to which groups were received
subscription = None  # the path of the object
broken = False  # whether the broker is gone


def events(groups, position, path):
    global cursor
    if path != subscription:
        return
    for sequence, context, start, end, attributes, data in groups:
        values = ", ".join(f"{key}={value}" for key, value in data)
        print(f"{sequence} {attributes.get('executable', '?')}: {values}", flush=True)
    cursor = position


def skipped(before, now, groups, reason, path):
    global cursor
    if path != subscription:
        return
    print(f"{groups} entries were skipped: {reason}", flush=True)
    cursor = now


def subscribe():
    """Subscribes after what has come. The subscription before may still be there."""
    global cursor, subscription
    if subscription:
        try:
            old = bus.get_object(NAME, subscription, introspect=False)
            old.Close(dbus_interface=SUBSCRIPTION)
        except dbus.DBusException:
            pass
    broker = bus.get_object(NAME, "/org/crypto_auditing/Broker")
    if cursor is None:
        cursor = broker.Get(NAME, "Newest", dbus_interface="org.freedesktop.DBus.Properties")
    only_tls = {"contexts": dbus.Array(["tls::*"], signature="s")}
    subscription = broker.Subscribe("", only_tls, {"after": cursor}, dbus_interface=NAME)


def restart():
    """Starts the broker, which is enough for a new owner; ends when there is one."""
    if broken:
        ignore = lambda *_: None
        bus.get_object(dbus.BUS_DAEMON_NAME, dbus.BUS_DAEMON_PATH).StartServiceByName(
            NAME, dbus.UInt32(0), dbus_interface=dbus.BUS_DAEMON_IFACE,
            reply_handler=ignore, error_handler=ignore,
        )
    return broken


def owner_changed(owner):
    global broken
    broken = not owner
    if owner:
        subscribe()
    elif restart():
        GLib.timeout_add_seconds(1, restart)


bus.add_signal_receiver(events, "Events", SUBSCRIPTION, NAME, path_keyword="path")
bus.add_signal_receiver(skipped, "Skipped", SUBSCRIPTION, NAME, path_keyword="path")
bus.watch_name_owner(NAME, owner_changed)
GLib.MainLoop().run()
