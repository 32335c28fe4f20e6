// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/logstore/segment"
)

// directoryStore is the log in a directory.
type directoryStore struct {
	storeSource
	path string
}

// logSegments returns the first sequences of the segments of the log in a
// directory. The error says so if there is no log: the writer of one sees to it
// that there is a segment at all times.
func logSegments(path string) ([]uint64, error) {
	segments, err := segment.List(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read log: %w", err)
	}
	if len(segments) == 0 {
		return nil, fmt.Errorf("cannot read log: %s is not a log directory: it has no segments (audit-*.cborseq.zst)", path)
	}
	return segments, nil
}

func (q *query) openDirectory(ctx context.Context) (store, error) {
	if _, err := logSegments(q.directory); err != nil {
		return nil, err
	}
	options := logstore.ReaderOptions{EntryLen: event.Len, Query: q.chunks()}
	reader, err := logstore.OpenReader(q.directory, options)
	if err != nil {
		return nil, fmt.Errorf("cannot open log directory %s: %w", q.directory, err)
	}
	return &directoryStore{storeSource{ctx: ctx, reader: reader, boot: q.boot}, q.directory}, nil
}

func (s *directoryStore) resolve(text string) (logstore.Cursor, error) {
	return s.reader.Resolve(text)
}

func (s *directoryStore) ends() (newest, oldest logstore.Cursor, err error) {
	if newest, err = s.reader.Newest(); err == nil {
		oldest, err = s.reader.Oldest()
	}
	if err != nil {
		err = fmt.Errorf("cannot find the ends of log directory %s: %w", s.path, err)
	}
	return newest, oldest, err
}

func (s *directoryStore) start() (at int64, ok bool, err error) {
	// The reader of the query may leave out the oldest chunk.
	reader, err := logstore.OpenReader(s.path, logstore.ReaderOptions{EntryLen: event.Len})
	if err != nil {
		return 0, false, fmt.Errorf("cannot open log directory %s: %w", s.path, err)
	}
	defer reader.Close()
	chunk, err := reader.Next(s.ctx)
	if err != nil {
		return 0, false, nil // the query reports it
	}
	return chunk.RealTime(chunk.Header.First), true, nil
}

func (s *directoryStore) seek(c logstore.Cursor) (missing uint64, err error) {
	s.rest = nil
	missing, err = s.reader.Seek(c)
	return missing, s.seekError(err)
}

func (s *directoryStore) seekTime(since int64) error {
	s.rest = nil
	return s.seekError(s.reader.SeekTime(since))
}

func (s *directoryStore) seekError(err error) error {
	if err != nil {
		return fmt.Errorf("cannot seek in log directory %s: %w", s.path, err)
	}
	return nil
}

func (s *directoryStore) cursor() (logstore.Cursor, error) { return s.reader.Cursor(), nil }

func (s *directoryStore) wait(ctx context.Context) error { return s.reader.Wait(ctx) }
