// SPDX-License-Identifier: Apache-2.0

// Package reading reads the log for clients: entry by entry through a filter, or
// page by page, with missing entries as gaps. It is independent of transports,
// which provide the encoding of groups.
package reading

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"

	"crypto-auditing/src/internal/broker/fault"
	"crypto-auditing/src/internal/broker/filter"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
)

// Log is the log in a directory. Its methods may be called concurrently.
type Log struct {
	dir    string
	health *health
}

// NewLog returns the log in a directory. Segments that cannot be read are reported
// to log.
func NewLog(dir string, log *slog.Logger) *Log { return &Log{dir, newHealth(log)} }

// Reader opens the log for the chunks that a query selects. The error is a
// *fault.StoreError.
func (l *Log) Reader(q logstore.Query) (*logstore.Reader, error) {
	r, err := logstore.OpenReader(l.dir, logstore.ReaderOptions{EntryLen: event.Len, Query: q})
	if err != nil {
		return nil, &fault.StoreError{Err: err}
	}
	return r, nil
}

// Check checks whether each segment of a list belongs to a store and can be read.
// The error is a *fault.StoreError that names the first one that does not or
// cannot.
func (l *Log) Check(list []uint64, store [16]byte) error {
	return l.health.check(l.dir, list, store)
}

// Scanner returns a scanner of the entries after a cursor that match a filter.
// Errors are logstore's about cursors, and *fault.StoreError.
func (l *Log) Scanner(f *filter.Filter, after logstore.Cursor) (*Scanner, error) {
	r, err := l.Reader(f.Chunks)
	if err != nil {
		return nil, err
	}
	s := &Scanner{reader: r, filter: f, log: l}
	if err := s.seek(after); err != nil {
		r.Close()
		return nil, err
	}
	return s, nil
}

// Pages returns pages of the entries after a cursor, given as text, that match a
// filter. Errors are those of cursors, and *fault.StoreError. closed, if not nil,
// is called when reading ends.
func (l *Log) Pages(f *filter.Filter, after string, closed func()) (*Pages, error) {
	cursor, err := l.Resolve(after)
	if err != nil {
		return nil, err
	}
	s, err := l.Scanner(f, cursor)
	if err != nil {
		return nil, err
	}
	return &Pages{scanner: s, closed: closed}, nil
}

// Resolve converts the text of a cursor, or a word for an end, into a cursor of the
// log. Errors are logstore.ErrInvalidCursor, logstore.ErrForeignCursor, and
// *fault.StoreError.
func (l *Log) Resolve(text string) (logstore.Cursor, error) {
	var cursor logstore.Cursor
	var err error
	word := text == logstore.OldestWord || text == logstore.NewestWord
	if !word {
		if cursor, err = logstore.ParseCursor(text); err != nil {
			return cursor, err
		}
	}
	r, err := l.Reader(logstore.Query{})
	if err != nil {
		return cursor, err
	}
	defer r.Close()
	if !word && cursor == (logstore.Cursor{}) {
		cursor.Store = r.Store() // the beginning of a log that was empty
		text = cursor.String()
	}
	if word {
		if cursor, err = r.Resolve(text); err != nil {
			return cursor, &fault.StoreError{Err: err}
		}
		return cursor, nil
	}
	if _, err := r.Resolve(text); err != nil {
		return cursor, err
	}
	after, err := r.After(cursor)
	if err != nil {
		return cursor, &fault.StoreError{Err: err}
	}
	if after {
		return cursor, fmt.Errorf("%w: %s is after the end of the log", logstore.ErrInvalidCursor, text)
	}
	return cursor, nil
}

// StepBack returns a position before another one, or the beginning of the log. It goes back by whole
// chunks until done returns true for the number of entries in between and the time that they
// took, in nanoseconds. The error is that of ctx or a *fault.StoreError.
func (l *Log) StepBack(ctx context.Context, from logstore.Cursor, done func(entries uint64, took int64) bool) (logstore.Cursor, error) {
	r, err := l.Reader(logstore.Query{})
	if err != nil {
		return from, err
	}
	defer r.Close()
	if _, err := r.Seek(from); err != nil {
		return from, &fault.StoreError{Err: err}
	}
	entries, latest, skip := uint64(0), int64(math.MinInt64), Skip{}
	for at := from; ; {
		if ctx.Err() != nil {
			return at, ctx.Err()
		}
		chunk, err := r.Previous()
		if err == io.EOF {
			return at, nil
		}
		if err != nil {
			if _, ok := skip.Read(l, err); !ok {
				return at, &fault.StoreError{Err: err}
			}
			continue // reading forwards reports it
		}
		entries += chunk.Last - chunk.First + 1
		at.Sequence = chunk.First - 1
		latest = max(latest, chunk.RealTime(chunk.Header.Last))
		if done(entries, latest-chunk.RealTime(chunk.Header.First)) {
			return at, nil
		}
	}
}
