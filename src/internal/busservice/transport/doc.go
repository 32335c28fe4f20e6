// SPDX-License-Identifier: Apache-2.0

// Package transport is a connection to a bus for a service that sends much data to
// clients which may be slow or hostile. A Socket, below godbus, discards oversized
// messages. A Backlog counts the bytes that the bus holds for clients that do not
// read; a Watcher determines how far they have read. The package does not depend
// on the content of messages.
package transport
