#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Prints TLS handshakes when they are complete (python3-dbus, python3-gi), until the broker ends."""

import dbus
import dbus.mainloop.glib
from gi.repository import GLib

NAME = "org.crypto_auditing.Broker"


def operations(some, cursor):
    for operation in some:
        print(operation.get("executable", "-"), *operation["summary"].values(), sep="\t", flush=True)


dbus.mainloop.glib.DBusGMainLoop(set_as_default=True)
bus = dbus.SystemBus()
bus.add_signal_receiver(operations, "Operations", NAME + ".Subscription", NAME)
broker = bus.get_object(NAME, "/org/crypto_auditing/Broker")
only_tls = {"contexts": dbus.Array(["tls::handshake"], signature="s")}
broker.Subscribe("", only_tls, {"form": "operations"}, dbus_interface=NAME)
GLib.MainLoop().run()
