// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"

	"crypto-auditing/src/internal/logstore"
)

// Store is a log with cursors: a directory, or the log that the broker serves. Its
// errors name it.
type Store interface {
	Source
	// Resolve converts a text, a cursor or oldest or newest, to a cursor.
	Resolve(text string) (logstore.Cursor, error)
	// Ends returns the cursors after the newest entry and before the oldest.
	Ends() (newest, oldest logstore.Cursor, err error)
	// Start returns the time of the oldest entry, in nanoseconds since the Unix epoch;
	// ok is false if it is unknown.
	Start() (at int64, ok bool, err error)
	// Seek positions the source after a cursor. missing is the number of missing
	// entries after it that Next will not report.
	Seek(c logstore.Cursor) (missing uint64, err error)
	// SeekTime positions the source before the first entry of a time, in nanoseconds
	// since the Unix epoch.
	SeekTime(ctx context.Context, since int64) error
	// Rewind positions the source before the oldest entry.
	Rewind() error
	// Sequence returns the number of the last entry that Next returned.
	Sequence() uint64
	// StepBack returns a cursor about n entries before c, counting the entries that need
	// be read; ok is false if there are fewer. It does not move the source.
	StepBack(c logstore.Cursor, n uint64) (from logstore.Cursor, ok bool, err error)
	// Trouble describes why operations are not being recorded at present, "" if no
	// reason is known.
	Trouble() string
	// Cursor returns the position up to which Next has returned, or could skip, all
	// entries.
	Cursor() (logstore.Cursor, error)
	// Wait waits until Next may have more entries, after Next has returned io.EOF. It
	// may return early.
	Wait(ctx context.Context) error
}
