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

// What the packages below define and callers need.
type (
	// Cursor is a position in a store.
	Cursor = cursor.Cursor
	// Header describes a chunk.
	Header = frame.Header
	// TermKind is a kind of term that a filter holds.
	TermKind = frame.TermKind
	// Term is a term to ask for.
	Term = frame.Term
	// Position is where a chunk was put.
	Position = queue.Position
	// FullError says that the queue before the disk is full.
	FullError = queue.FullError
	// Lost describes entries that were written and are not in the store any
	// more.
	Lost = queue.Lost
	// Reader reads a store.
	Reader = reader.Reader
	// Ahead reads a store before it is wanted.
	Ahead = reader.Ahead
	// ReaderOptions configure a Reader.
	ReaderOptions = reader.Options
	// Query says which chunks a Reader may leave out.
	Query = reader.Query
	// Chunk is what a Reader returns.
	Chunk = reader.Chunk
	// MissingError says that entries have been removed.
	MissingError = reader.MissingError
	// CorruptError says that a part of a segment cannot be trusted; reading
	// goes on behind it.
	CorruptError = segment.CorruptError
	// UnreadableError reports a segment that cannot be opened or read; reading
	// continues with the next one.
	UnreadableError = segment.UnreadableError
	// ForeignError reports a file that is named as a segment of the store and is
	// none.
	ForeignError = segment.ForeignError
	// IncompatibleError says that a segment was written by a newer version.
	IncompatibleError = segment.IncompatibleError
)

// The kinds of terms; docs/log-format.md says what belongs to each.
const (
	Name       = frame.Name
	Key        = frame.Key
	Executable = frame.Executable
	Origin     = frame.Origin
	Unit       = frame.Unit
	Source     = frame.Source
	Value      = frame.Value
)

// NotDurable is why entries are lost that a failed sync has cost.
const NotDurable = queue.NotDurable

// The words for the ends of a store, accepted by Reader.Resolve.
const (
	OldestWord = cursor.Oldest
	NewestWord = cursor.Newest
)

var (
	// ErrInvalidCursor says that a text is no cursor.
	ErrInvalidCursor = cursor.ErrInvalid
	// ErrForeignCursor says that a cursor is one of another store.
	ErrForeignCursor = cursor.ErrForeign
	// ErrClosed says that the Writer has been closed.
	ErrClosed = queue.ErrClosed
)

// TermHash returns what Batch.Terms holds for a term.
func TermHash[T []byte | string](kind TermKind, text T) uint64 { return frame.TermHash(kind, text) }

// NewTerm returns a term to ask for.
func NewTerm[T []byte | string](kind TermKind, text T) Term { return frame.NewTerm(kind, text) }

// NoticesOnly is a query for the chunks that hold notices, and no others.
func NoticesOnly() Query { return reader.NoticesOnly() }

// ParseCursor reads the text of a cursor; the error is ErrInvalidCursor.
func ParseCursor(text string) (Cursor, error) { return cursor.Parse(text) }

// OpenReader opens the store in dir for reading, before its oldest entry. The
// directory must exist; it may be empty.
func OpenReader(dir string, opts ReaderOptions) (*Reader, error) { return reader.Open(dir, opts) }

// NewAhead returns an Ahead that continues where the Reader is.
func NewAhead(r *Reader) *Ahead { return reader.NewAhead(r) }

// OpenFile opens one segment file, wherever it is.
func OpenFile(ctx context.Context, path string, opts ReaderOptions) (*Reader, error) {
	return reader.OpenFile(ctx, path, opts)
}
