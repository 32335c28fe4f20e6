// SPDX-License-Identifier: Apache-2.0

// Package segment reads one segment file of the log: it hops from chunk to
// chunk by their headers, decompresses those that are asked for, and where
// bytes are damaged finds the next chunk that can be trusted.
//
// It knows nothing of the other segments of a store.
package segment
