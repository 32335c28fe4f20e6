// SPDX-License-Identifier: Apache-2.0

// Package reader reads a store in both directions, seeks by cursor and time, skips chunks
// that a query excludes, and follows a growing store.
package reader
