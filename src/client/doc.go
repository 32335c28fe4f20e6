// SPDX-License-Identifier: Apache-2.0

// Package client reads the log of cryptographic events, and is told of events
// as they are recorded, over the system bus: it speaks to the service
// org.crypto_auditing.Broker, which docs/dbus-api.md describes.
//
// Connect makes a Client. Read and Groups catch up; Open streams the log at the
// speed of the disk; Subscribe delivers groups as they are appended, each at
// most once, over restarts of the broker.
//
// A group is an entry of the log: events of one context that happened close
// together. A Cursor says a position in the log and stays valid while the log is
// rotated, rewritten and truncated.
//
// All methods of a Client may be called concurrently.
package client
