// SPDX-License-Identifier: Apache-2.0

// Package logstore is the primary storage of the log: a directory of append-only segments
// of independently decodable chunks, as specified in docs/log-format.md. Entries are opaque
// bytes with times and a number of events.
//
// A store has exactly one Writer, which holds a lock, and any number of Readers, which hold
// none:
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
// The package contains the writer and the maintenance of a store. It builds on frame (the
// byte layout), segment (single segments), cursor (positions), reader (reading), queue and
// file (writing to disk), seal (rewriting), prune (retention) and verify (checking).
package logstore
