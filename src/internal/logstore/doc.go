// SPDX-License-Identifier: Apache-2.0

// Package logstore is the primary log storage: a directory of append-only
// segments of independently decodable chunks, as docs/log-format.md specifies
// it. Entries are opaque bytes with a time and a count.
//
// A store has exactly one Writer, held by a lock, and any number of Readers,
// which take none:
//
//	w, err := logstore.Open(dir, logstore.Options{EntryLen: event.Len, Metadata: …})
//	position, err := w.Append(logstore.Batch{Entries: b, Count: n, …})
//	cursor, err := w.Flush() // durable up to cursor
//
//	r, err := logstore.OpenReader(dir, logstore.ReaderOptions{EntryLen: event.Len})
//	missing, err := r.Seek(cursor)
//	for {
//		chunk, err := r.Next() // io.EOF at the end; then r.Wait
//		…
//	}
//
// The byte layout is in package frame, single segments in package segment,
// the file system seam in package file.
package logstore
