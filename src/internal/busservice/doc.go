// SPDX-License-Identifier: Apache-2.0

// Package busservice is org.crypto_auditing.Broker on D-Bus: it turns calls
// into those of package broker and groups into messages. The interfaces are
// described in dbus/org.crypto_auditing.Broker.xml.
//
// Calls come and are answered on one connection, the owner of the name. The
// signals of subscriptions leave on others, one for each user, since a bus
// stops to read from a connection whose messages it cannot get rid of: a client
// that does not read holds up its own user at most. The messages of these
// signals are written by this package; everything else goes through godbus.
package busservice
