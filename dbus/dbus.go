// SPDX-License-Identifier: Apache-2.0

// Package dbus holds the files that describe the service
// org.crypto_auditing.Broker to the bus, to polkit and to people. The
// introspection XML is the source of the API.
package dbus

import _ "embed"

//go:generate go run ./apidoc

// Introspection is the introspection XML of the API: a node with the interfaces
// of the broker's object and of its subscriptions.
//
//go:embed org.crypto_auditing.Broker.xml
var Introspection string
