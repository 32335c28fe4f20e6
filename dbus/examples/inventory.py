#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Prints programs with the versions and groups of their TLS handshakes (python3-dbus)."""

import dbus

inventory = dbus.Interface(
    dbus.SystemBus().get_object("org.crypto_auditing.Inventory", "/org/crypto_auditing/Inventory"),
    "org.crypto_auditing.Inventory",
)
by = ["executable", "version", "group"]
for row in inventory.Summarize(by, {"operation": dbus.Array(["tls::handshake"], "s")}):
    print(f"{row['count']:8}", *(row.get(key, "unknown") for key in by))
