#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Prints all groups of TLS in the log, page by page (python3-dbus)."""

import dbus

bus = dbus.SystemBus()
broker = dbus.Interface(
    bus.get_object("org.crypto_auditing.Broker", "/org/crypto_auditing/Broker"),
    "org.crypto_auditing.Broker",
)
only_tls = {"contexts": dbus.Array(["tls::*"], signature="s")}
cursor = "oldest"
while True:
    groups, following, missing = broker.Read(cursor, only_tls, dbus.UInt32(1000))
    if missing:
        print(f"{missing} entries are gone")
    for sequence, context, start, end, attributes, data in groups:
        values = ", ".join(f"{key}={value}" for key, value in data)
        print(f"{start / 1e6:.3f} {attributes.get('executable', '?')}: {values}")
    if following == cursor:
        break
    cursor = following
