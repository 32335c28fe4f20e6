// SPDX-License-Identifier: Apache-2.0

// Package busservice is org.crypto_auditing.Broker on D-Bus: it turns calls
// into those of package broker and groups into messages. The interfaces are
// described in dbus/org.crypto_auditing.Broker.xml.
//
// Everything that clients are sent leaves on one connection, which owns the name:
// proxies take signals of no other. A bus stops reading from a connection whose
// messages it cannot get rid of, so what clients have not read is accounted for
// (package transport) and bounded for each client, each user and in all. A subscriber has
// read what it was sent when it answers a ping. Pings leave on connections of
// their own, for each user another, since a bus bounds the open calls of a
// connection. A caller, which may answer nothing while it waits for a reply, has
// read when the bus holds nothing for it.
// Most messages to clients are written by this package; everything else goes
// through godbus, above a socket that discards what is too long.
package busservice
