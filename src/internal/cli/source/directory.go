// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/logstore/segment"
)

// directoryStore is the log in a directory.
type directoryStore struct {
	storeSource
	path     string
	query    logstore.Query
	backward *logstore.Reader // nil until StepBack is called
}

// Segments returns the first sequences of the segments of the log in a directory. It
// returns an error if there is no log: the writer of a log ensures that a segment exists
// at all times.
func Segments(path string) ([]uint64, error) {
	segments, err := segment.List(path)
	if errors.Is(err, unix.ENOTDIR) {
		return nil, fmt.Errorf("cannot read log: %s is not a directory; use --file for a file", path)
	}
	if err != nil {
		return nil, err // it names the directory
	}
	if len(segments) == 0 {
		return nil, fmt.Errorf("cannot read log: %s is not a log directory: it has no segments (audit-*.cborseq.zst)", path)
	}
	return segments, nil
}

// OpenDirectory opens the log in a directory. query selects the chunks to read; ctx ends
// reading.
func OpenDirectory(ctx context.Context, path string, query logstore.Query, boot BootTime) (Store, error) {
	if _, err := Segments(path); err != nil {
		return nil, err
	}
	reader, err := logstore.OpenReader(path, logstore.ReaderOptions{EntryLen: event.Len, Query: query})
	if err != nil {
		return nil, fmt.Errorf("cannot open log directory %s: %w", path, err)
	}
	return &directoryStore{storeSource: storeSource{ctx: ctx, reader: reader, boot: boot}, path: path, query: query}, nil
}

func (s *directoryStore) Resolve(text string) (logstore.Cursor, error) {
	return s.reader.Resolve(text)
}

func (s *directoryStore) Ends() (newest, oldest logstore.Cursor, err error) {
	if newest, err = s.reader.Newest(); err == nil {
		oldest, err = s.reader.Oldest()
	}
	if err != nil {
		err = fmt.Errorf("cannot find the ends of log directory %s: %w", s.path, err)
	}
	return newest, oldest, err
}

func (s *directoryStore) Start() (at int64, ok bool, err error) {
	// The reader of the query may skip the oldest chunk.
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

func (s *directoryStore) Seek(c logstore.Cursor) (missing uint64, err error) {
	s.stop()
	missing, err = s.reader.Seek(c)
	return missing, s.seekError(err)
}

func (s *directoryStore) SeekTime(ctx context.Context, since int64) error {
	s.stop()
	return s.seekError(s.reader.SeekTime(ctx, since))
}

func (s *directoryStore) Rewind() error {
	s.stop()
	s.reader.Rewind()
	return nil
}

func (s *directoryStore) Trouble() string { return "" }

func (s *directoryStore) Sequence() uint64 { return s.sequence }

func (s *directoryStore) StepBack(c logstore.Cursor, n uint64) (from logstore.Cursor, ok bool, err error) {
	if s.backward == nil {
		if s.backward, err = logstore.OpenReader(s.path, logstore.ReaderOptions{EntryLen: event.Len, Query: s.query}); err != nil {
			return from, false, fmt.Errorf("cannot open log directory %s: %w", s.path, err)
		}
	}
	if at := s.backward.Cursor(); at != c {
		if _, err := s.backward.Seek(c); err != nil {
			return from, false, s.seekError(err)
		}
	}
	for entries := uint64(0); entries < n; {
		if s.ctx.Err() != nil {
			return from, false, s.ctx.Err()
		}
		chunk, err := s.backward.Previous()
		var gap *GapError
		switch err = Gap(err); {
		case err == io.EOF:
			return from, false, nil
		case errors.As(err, &gap):
			continue // Next reports it
		case err != nil:
			return from, false, err
		}
		entries += chunk.Last - chunk.First + 1
		from = logstore.Cursor{Store: c.Store, Sequence: chunk.First - 1}
	}
	return from, true, nil
}

func (s *directoryStore) Close() error {
	err := s.storeSource.Close()
	if s.backward != nil {
		err = errors.Join(err, s.backward.Close())
	}
	return err
}

func (s *directoryStore) seekError(err error) error {
	if err != nil {
		return fmt.Errorf("cannot seek in log directory %s: %w", s.path, err)
	}
	return nil
}

func (s *directoryStore) Cursor() (logstore.Cursor, error) { return s.reader.Cursor(), nil }

func (s *directoryStore) Wait(ctx context.Context) error { return s.reader.Wait(ctx) }
