// SPDX-License-Identifier: Apache-2.0

// Package transport is a connection to a bus on which a service sends much to
// clients that may be slow or hostile. A Socket, below godbus, discards messages
// that are too long. A Backlog accounts for the bytes that the bus holds for
// clients that do not read; a Watcher finds out how far they have read. It knows
// nothing of what is sent.
package transport
