// SPDX-License-Identifier: Apache-2.0

// Package reader reads a store in either direction, seeks by cursor and time,
// leaves out what a query cannot match, and follows a store that grows.
package reader
