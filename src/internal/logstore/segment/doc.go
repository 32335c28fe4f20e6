// SPDX-License-Identifier: Apache-2.0

// Package segment reads one segment file of the log: it moves from chunk to chunk by their
// headers, decompresses selected chunks, and finds the next trustworthy chunk after damaged
// bytes.
//
// It does not depend on the other segments of a store.
package segment
