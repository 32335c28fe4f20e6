// SPDX-License-Identifier: Apache-2.0

// Package frame implements the byte layout of the log (docs/log-format.md): chunk headers,
// payloads, filters, the hash chain, and the index of a sealed segment. It works on bytes in
// memory and does not access files.
//
// Lengths and checksums are checked before the data they describe is allocated, read or
// decompressed.
package frame
