// SPDX-License-Identifier: Apache-2.0

// Package client reads the log of cryptographic events and receives new events over
// the system bus, from the service org.crypto_auditing.Broker, which
// docs/dbus-api.md describes.
//
// Connect returns a Client. Read and Groups return past entries, ReadOperations returns
// past operations; Open streams the log at the speed of the disk; Subscribe delivers
// groups as they are appended, each at most once, across restarts of the broker.
//
// A group is an entry of the log: events of one context that happened close
// together. A Cursor names a position in the log. It stays valid when the log is
// rotated, rewritten or truncated.
//
// All methods of a Client may be called concurrently.
package client
