// SPDX-License-Identifier: Apache-2.0

package logstore

import (
	"context"

	"crypto-auditing/src/internal/logstore/cursor"
	"crypto-auditing/src/internal/logstore/frame"
	"crypto-auditing/src/internal/logstore/queue"
	"crypto-auditing/src/internal/logstore/reader"
	"crypto-auditing/src/internal/logstore/segment"
)

// Names of the subpackages that callers need.
type (
	// Cursor is a position in a store.
	Cursor = cursor.Cursor
	// Header describes a chunk.
	Header = frame.Header
	// TermKind is a kind of term that a filter holds.
	TermKind = frame.TermKind
	// Term is a term of a query.
	Term = frame.Term
	// Position is the position of a chunk.
	Position = queue.Position
	// FullError reports that the queue to the disk is full.
	FullError = queue.FullError
	// Lost describes entries that were written and are no longer in the store.
	Lost = queue.Lost
	// Reader reads a store.
	Reader = reader.Reader
	// Ahead reads a store ahead of the caller.
	Ahead = reader.Ahead
	// ReaderOptions configure a Reader.
	ReaderOptions = reader.Options
	// Query selects the chunks that a Reader returns.
	Query = reader.Query
	// Chunk is what a Reader returns.
	Chunk = reader.Chunk
	// MissingError reports that entries have been removed.
	MissingError = reader.MissingError
	// CorruptError reports a part of a segment that cannot be trusted. Reading continues
	// after it.
	CorruptError = segment.CorruptError
	// UnreadableError reports a segment that cannot be opened or read; reading
	// continues with the next one.
	UnreadableError = segment.UnreadableError
	// ForeignError reports a file that has the name of a segment but is not a segment of
	// the store.
	ForeignError = segment.ForeignError
	// IncompatibleError reports that a newer version wrote the segment.
	IncompatibleError = segment.IncompatibleError
)

// The kinds of terms, as described in docs/log-format.md.
const (
	Name       = frame.Name
	Key        = frame.Key
	Executable = frame.Executable
	Origin     = frame.Origin
	Unit       = frame.Unit
	Source     = frame.Source
	Value      = frame.Value
)

// NotDurable is the reason for the loss of entries after a failed sync.
const NotDurable = queue.NotDurable

// The words for the ends of a store, accepted by Reader.Resolve.
const (
	OldestWord = cursor.Oldest
	NewestWord = cursor.Newest
)

var (
	// ErrInvalidCursor reports that a text is not a cursor.
	ErrInvalidCursor = cursor.ErrInvalid
	// ErrForeignCursor reports that a cursor belongs to another store.
	ErrForeignCursor = cursor.ErrForeign
	// ErrClosed reports that the Writer is closed.
	ErrClosed = queue.ErrClosed
)

// TermHash returns the hash of a term for Batch.Terms.
func TermHash[T []byte | string](kind TermKind, text T) uint64 { return frame.TermHash(kind, text) }

// NewTerm returns a term for a query.
func NewTerm[T []byte | string](kind TermKind, text T) Term { return frame.NewTerm(kind, text) }

// NoticesOnly returns a query for chunks with notices only.
func NoticesOnly() Query { return reader.NoticesOnly() }

// ParseCursor parses the text of a cursor. The error is ErrInvalidCursor.
func ParseCursor(text string) (Cursor, error) { return cursor.Parse(text) }

// OpenReader opens the store in dir for reading and positions the Reader before the oldest
// entry. The directory must exist; it may be empty.
func OpenReader(dir string, opts ReaderOptions) (*Reader, error) { return reader.Open(dir, opts) }

// NewAhead returns an Ahead that starts at the position of the Reader.
func NewAhead(r *Reader) *Ahead { return reader.NewAhead(r) }

// OpenFile opens one segment file at any path.
func OpenFile(ctx context.Context, path string, opts ReaderOptions) (*Reader, error) {
	return reader.OpenFile(ctx, path, opts)
}
