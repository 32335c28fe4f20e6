// SPDX-License-Identifier: Apache-2.0

// Package queue is the queue between the writer of a store and the disk. It writes chunks in
// order, starts segments, syncs in time, and retries failed writes.
package queue
