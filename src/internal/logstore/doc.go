// SPDX-License-Identifier: Apache-2.0

// Package logstore is the primary log storage: a directory of append-only
// segments of independently decodable chunks, as docs/log-format.md specifies
// it. Entries are opaque bytes with a time and a count.
//
// A store has exactly one Writer, held by a lock, and any number of Readers,
// which take none:
//
//	w, err := logstore.Open(ctx, dir, logstore.Options{EntryLen: event.Len, Metadata: …})
//	position, err := w.Append(logstore.Batch{Entries: b, Ends: ends, …})
//	cursor, err := w.Flush() // durable up to cursor
//
//	r, err := logstore.OpenReader(dir, logstore.ReaderOptions{EntryLen: event.Len})
//	missing, err := r.Seek(cursor)
//	for {
//		chunk, err := r.Next(ctx) // io.EOF at the end; then r.Wait
//		…
//	}
//
// It holds the writer and what keeps a store in order. Below it: the byte
// layout in frame, single segments in segment, positions in cursor, reading in
// reader, the way to the disk in queue and file, rewriting in seal, what goes
// in retention, checking in verify.
package logstore
