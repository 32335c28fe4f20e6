// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"

	"crypto-auditing/src/internal/logstore"
)

// Store is a log that has cursors: one in a directory, or the one that the
// broker reads. Its errors name it.
type Store interface {
	Source
	// Resolve turns a text, a cursor or oldest or newest, into a cursor.
	Resolve(text string) (logstore.Cursor, error)
	// Ends returns the cursors behind the newest entry and before the oldest.
	Ends() (newest, oldest logstore.Cursor, err error)
	// Start returns the time of the oldest entry, in nanoseconds since the Unix
	// epoch; ok is false if it is not known.
	Start() (at int64, ok bool, err error)
	// Seek goes behind a cursor. missing is how many entries behind it are gone,
	// as far as Next will not tell.
	Seek(c logstore.Cursor) (missing uint64, err error)
	// SeekTime goes before the first entry of a time, in nanoseconds since the
	// Unix epoch.
	SeekTime(ctx context.Context, since int64) error
	// Rewind goes before the oldest entry.
	Rewind() error
	// Sequence returns the number of the entry that Next has returned last.
	Sequence() uint64
	// Back returns a cursor from which about n entries, those that need be read
	// counted, lie before c; ok is false if there are fewer. It does not move
	// the source.
	Back(c logstore.Cursor, n uint64) (from logstore.Cursor, ok bool, err error)
	// Trouble says what keeps operations from being recorded now; empty: nothing
	// that is known.
	Trouble() string
	// Cursor is the position up to which everything was returned by Next, or
	// could be left out.
	Cursor() (logstore.Cursor, error)
	// Wait waits until Next may have more, after it has returned io.EOF. It may
	// return early.
	Wait(ctx context.Context) error
}
