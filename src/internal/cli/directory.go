// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
)

// directoryStore is the log in a directory.
type directoryStore struct {
	storeSource
	path string
}

func (q *query) openDirectory() (store, error) {
	options := logstore.ReaderOptions{EntryLen: event.Len, Query: q.chunks()}
	reader, err := logstore.OpenReader(q.directory, options)
	if err != nil {
		return nil, fmt.Errorf("cannot open log directory %s: %w", q.directory, err)
	}
	return &directoryStore{storeSource{reader: reader, boot: q.boot}, q.directory}, nil
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
