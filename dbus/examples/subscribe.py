#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Prints groups of TLS as they are recorded (python3-dbus, python3-gi)."""

import dbus
import dbus.mainloop.glib
from gi.repository import GLib

dbus.mainloop.glib.DBusGMainLoop(set_as_default=True)
bus = dbus.SystemBus()


def events(groups, cursor):
    for sequence, context, start, end, attributes, data in groups:
        values = ", ".join(f"{key}={value}" for key, value in data)
        print(f"{sequence} {attributes.get('executable', '?')}: {values}", flush=True)


def skipped(before, now, groups, reason):
    print(f"{groups} groups were passed over: {reason}", flush=True)


# Listen first: what is recorded right after the call is sent, too.
interface = "org.crypto_auditing.Broker.Subscription"
bus.add_signal_receiver(events, "Events", interface)
bus.add_signal_receiver(skipped, "Skipped", interface)

broker = dbus.Interface(
    bus.get_object("org.crypto_auditing.Broker", "/org/crypto_auditing/Broker"),
    "org.crypto_auditing.Broker",
)
only_tls = {"contexts": dbus.Array(["tls::*"], signature="s")}
broker.Subscribe("", only_tls, dbus.Dictionary({}, signature="sv"))
GLib.MainLoop().run()
