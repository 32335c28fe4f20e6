#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Prints a table of the newest 20 TLS handshakes (python3-dbus)."""

import time

import dbus

bus = dbus.SystemBus()
path = "/org/crypto_auditing/Broker"
broker = dbus.Interface(bus.get_object("org.crypto_auditing.Broker", path), "org.crypto_auditing.Broker")
only_tls = {"contexts": dbus.Array(["tls::handshake"], signature="s")}
operations, _, _ = broker.ReadOperations("newest", only_tls, dbus.UInt32(20), {"reverse": True})
for operation in operations:
    at = time.strftime("%H:%M:%S", time.localtime(operation["start"] / 1e6))
    columns = [operation["summary"].get(key, "-") for key in ("role", "protocol_version", "ciphersuite", "group")]
    print(at, operation.get("executable", "-"), *columns, sep="\t")
