// SPDX-License-Identifier: Apache-2.0

// Package dbus contains the files that describe the services
// org.crypto_auditing.Broker and org.crypto_auditing.Inventory to the bus, to polkit
// and to people. The introspection XML is the source of the API.
package dbus

import _ "embed"

//go:generate go run ./apidoc

// Introspection is the introspection XML of the broker: a node with the interfaces
// of the broker's object and of its subscriptions.
//
//go:embed org.crypto_auditing.Broker.xml
var Introspection string

// Inventory is the introspection XML of the inventory: a node with the interface of
// its object.
//
//go:embed org.crypto_auditing.Inventory.xml
var Inventory string
