// SPDX-License-Identifier: Apache-2.0

// Package busservice serves org.crypto_auditing.Broker on D-Bus: it maps method
// calls to package broker and groups to messages. The interfaces are described in
// dbus/org.crypto_auditing.Broker.xml.
//
// One connection, which owns the bus name, sends all messages to clients, since
// proxies ignore signals of other senders. A bus stops reading from a connection
// whose messages it cannot deliver. Unread messages are therefore counted (package
// transport) and bounded per client, per user and in total. A subscriber that
// answers a ping has read everything sent before it. Pings use separate
// connections, one for each user, because a bus bounds the pending calls of a
// connection. A caller might not answer pings while it waits for a reply; it has
// read everything when the bus holds no message for it.
//
// This package encodes most messages to clients itself. Everything else passes
// through godbus, on top of a socket that discards oversized messages.
package busservice
