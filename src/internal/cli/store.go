// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"

	"crypto-auditing/src/internal/logstore"
)

// store is a log that has cursors: one in a directory, or the one that the
// broker reads. Its errors name it.
type store interface {
	source
	// resolve turns a text, a cursor or oldest or newest, into a cursor.
	resolve(text string) (logstore.Cursor, error)
	// ends returns the cursors behind the newest entry and before the oldest.
	ends() (newest, oldest logstore.Cursor, err error)
	// start returns the time of the oldest entry, in nanoseconds since the Unix
	// epoch; ok is false if it is not known.
	start() (at int64, ok bool, err error)
	// seek goes behind a cursor. missing is how many entries behind it are gone,
	// as far as next will not tell.
	seek(c logstore.Cursor) (missing uint64, err error)
	// seekTime goes before the first entry of a time, in nanoseconds since the
	// Unix epoch.
	seekTime(since int64) error
	// cursor is the position up to which everything was returned by next, or
	// could be left out.
	cursor() (logstore.Cursor, error)
	// wait waits until next may have more, after it has returned io.EOF. It may
	// return early.
	wait(ctx context.Context) error
}

// openStore opens the log that the query is about, at its beginning.
func (q *query) openStore(ctx context.Context) (store, error) {
	if q.directory != "" {
		return q.openDirectory(ctx)
	}
	return q.openBus(ctx)
}
