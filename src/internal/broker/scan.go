// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"
	"errors"
	"io"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
)

// scanner reads the entries that pass a filter, in order. It is for one
// goroutine.
type scanner struct {
	reader *logstore.Reader
	filter *filter
	health *health
	// undecoded says that nobody looks into the groups: they are given only
	// as bytes.
	undecoded bool

	group event.Group
	// rest are the entries of the chunk from sequence on, last is that of its
	// last.
	rest           []byte
	sequence, last uint64
	boot           int64
	// position is the sequence up to which everything was returned or did not
	// pass.
	position uint64
	// gap is reported before anything else is read.
	gap  *Gap
	skip skip
	// read counts the bytes of entries that were looked at.
	read uint64
}

// openScanner begins behind a cursor. Its errors are logstore's about cursors,
// and *StoreError.
func openScanner(dir string, h *health, f *filter, after logstore.Cursor) (*scanner, error) {
	r, err := openReader(dir, f.chunks)
	if err != nil {
		return nil, err
	}
	s := &scanner{reader: r, filter: f, health: h}
	if err := s.seek(after); err != nil {
		r.Close()
		return nil, err
	}
	return s, nil
}

// openReader opens the log.
func openReader(dir string, q logstore.Query) (*logstore.Reader, error) {
	r, err := logstore.OpenReader(dir, logstore.ReaderOptions{EntryLen: event.Len, Query: q})
	if err != nil {
		return nil, &StoreError{err}
	}
	return r, nil
}

func (s *scanner) close() { s.reader.Close() }

// seek goes behind a cursor.
func (s *scanner) seek(after logstore.Cursor) error {
	missing, err := s.reader.Seek(after)
	if errors.Is(err, logstore.ErrForeignCursor) {
		return err
	}
	if err != nil {
		return &StoreError{err}
	}
	s.rest, s.gap, s.skip = nil, nil, skip{}
	s.position = after.Sequence
	if to := s.reader.Cursor(); missing > 0 {
		s.gap = &Gap{From: after, To: to, Entries: missing, Reason: Truncated}
		s.gap.From.Store = to.Store
	}
	return nil
}

// next returns the next entry that passes, in e. The error is a *Gap where
// entries are missing, and the next call goes on behind it; io.EOF at the end,
// where there may be more later; *StoreError if reading fails; that of ctx.
func (s *scanner) next(ctx context.Context, e *Entry) error {
	for {
		if s.gap != nil {
			gap := s.gap
			s.gap = nil
			s.position = gap.To.Sequence
			return gap
		}
		for len(s.rest) > 0 {
			if s.step(e) {
				return nil
			}
		}
		if err := s.nextChunk(ctx); err != nil {
			return err
		}
	}
}

// nextChunk goes to the next chunk, or sets the gap.
func (s *scanner) nextChunk(ctx context.Context) error {
	chunk, err := s.reader.Next(ctx)
	switch {
	case err == nil:
		s.rest, s.sequence, s.last = chunk.Entries, chunk.First, chunk.Last
		s.boot = chunk.Header.Offset
		s.read += uint64(len(chunk.Entries))
		s.position = max(s.position, chunk.First-1)
		s.skip = skip{}
		return nil
	case err == io.EOF:
		s.position = max(s.position, s.reader.Cursor().Sequence)
		return io.EOF
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	lack, ok := s.skip.read(s.health, err)
	switch {
	case !ok:
		return &StoreError{err}
	case lack.last != 0:
		s.miss(lack.first, lack.last, lack.reason)
	case lack.newest || lack.reason == PassedOver:
		s.position = max(s.position, s.reader.Cursor().Sequence)
		at := s.cursor()
		s.gap = &Gap{From: at, To: at, Reason: lack.reason}
	}
	return nil
}

// skip is why a reader passes over a part of the log, as long as it is not known
// what is missing there.
type skip struct{ reason Reason }

// lack is what is missing in the log: the entries first to last, or, if those
// are 0, what a later error shows.
type lack struct {
	first, last uint64
	reason      Reason
	// newest is set if the newest segment cannot be read: there may be no later
	// error.
	newest bool
}

// read takes an error of a logstore.Reader after which it continues; ok is
// false for others.
func (s *skip) read(h *health, err error) (l lack, ok bool) {
	var missing *logstore.MissingError
	var corrupt *logstore.CorruptError
	var unreadable *logstore.UnreadableError
	var incompatible *logstore.IncompatibleError
	switch {
	case errors.As(err, &missing):
		l = lack{first: missing.From, last: missing.To, reason: Truncated}
		if s.reason != "" {
			l.reason = s.reason
		}
		s.reason = ""
		return l, true
	case errors.As(err, &corrupt):
		l = lack{first: corrupt.From, last: corrupt.To, reason: Corrupt}
	case errors.As(err, &unreadable):
		h.note(unreadable)
		l = lack{first: unreadable.From, last: unreadable.To, reason: Unreadable, newest: unreadable.Newest}
	case errors.As(err, &incompatible):
		l = lack{reason: Corrupt}
	case errors.As(err, new(*logstore.ForeignError)):
		return lack{reason: PassedOver}, true // nothing is missing for it
	default:
		return lack{}, false
	}
	s.reason = l.reason
	return l, true
}

// miss notes that the entries from first to last are missing.
func (s *scanner) miss(first, last uint64, reason Reason) {
	store := s.reader.Store()
	s.gap = &Gap{
		From:    logstore.Cursor{Store: store, Sequence: max(first-1, s.position)},
		To:      logstore.Cursor{Store: store, Sequence: last},
		Entries: last - first + 1, Reason: reason,
	}
}

// step looks at the next entry of the chunk and reports whether it passes.
func (s *scanner) step(e *Entry) bool {
	var n int
	var err error
	if s.undecoded {
		n, err = event.Len(s.rest)
	} else {
		n, err = event.Decode(s.rest, &s.group)
	}
	if err != nil || s.sequence > s.last {
		s.rest = nil
		s.miss(s.sequence, max(s.last, s.sequence), Corrupt)
		return false
	}
	*e = Entry{Sequence: s.sequence, Group: &s.group, Raw: s.rest[:n], Boot: s.boot}
	s.rest = s.rest[n:]
	s.position = s.sequence
	s.sequence++
	if len(s.rest) == 0 && s.sequence <= s.last {
		// Fewer entries than the header says: this one is good.
		s.miss(s.sequence, s.last, Corrupt)
	}
	return s.undecoded || s.filter.everything || s.filter.passes(&s.group, nameOf(&s.group), s.boot)
}

// back undoes the last call of next, which returned an entry.
func (s *scanner) back(e *Entry) {
	// The entries of a chunk lie one behind the other.
	s.rest = e.Raw[: len(e.Raw)+len(s.rest) : cap(e.Raw)]
	s.sequence = e.Sequence
	s.position = e.Sequence - 1
	s.gap = nil
}

// cursor is the position as a cursor.
func (s *scanner) cursor() logstore.Cursor {
	return logstore.Cursor{Store: s.reader.Store(), Sequence: s.position}
}
