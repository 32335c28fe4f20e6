// SPDX-License-Identifier: Apache-2.0

package reading

import (
	"context"
	"errors"
	"io"

	"crypto-auditing/src/internal/broker/fault"
	"crypto-auditing/src/internal/broker/filter"
	"crypto-auditing/src/internal/entry"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/logstore/segment"
)

// Scanner reads the entries that match a filter, in order. It must not be used
// concurrently.
type Scanner struct {
	reader *logstore.Reader
	filter *filter.Filter
	log    *Log
	// undecoded is set if groups are used only as bytes.
	undecoded bool

	group event.Group
	// entries are the remaining entries of the chunk, starting at sequence; last is
	// the sequence of the last one.
	entries        []byte
	sequence, last uint64
	boot           int64
	// position is the sequence up to which everything was returned or did not
	// match.
	position uint64
	// gap is returned before anything else is read.
	gap  *Gap
	skip Skip
	// Read counts the bytes of the entries that were read.
	Read uint64
}

// Close ends reading.
func (s *Scanner) Close() { s.reader.Close() }

// seek continues after a cursor.
func (s *Scanner) seek(after logstore.Cursor) error {
	missing, err := s.reader.Seek(after)
	if errors.Is(err, logstore.ErrForeignCursor) {
		return err
	}
	if err != nil {
		return &fault.StoreError{Err: err}
	}
	s.entries, s.gap, s.skip = nil, nil, Skip{}
	s.position = after.Sequence
	if to := s.reader.Cursor(); missing > 0 {
		s.gap = &Gap{From: after, To: to, Entries: missing, Reason: event.Truncated}
		s.gap.From.Store = to.Store
	}
	return nil
}

// Next returns the next matching entry in e. The error is a *Gap where entries are
// missing, and the next call continues after it; io.EOF at the end of the log,
// which may grow; a *fault.StoreError if reading fails; or the error of ctx.
func (s *Scanner) Next(ctx context.Context, e *event.Entry) error {
	for {
		if s.gap != nil {
			gap := s.gap
			s.gap = nil
			s.position = gap.To.Sequence
			return gap
		}
		for len(s.entries) > 0 {
			if s.step(e) {
				return nil
			}
		}
		if err := s.nextChunk(ctx); err != nil {
			return err
		}
	}
}

// nextChunk moves to the next chunk, or sets the gap.
func (s *Scanner) nextChunk(ctx context.Context) error {
	chunk, err := s.reader.Next(ctx)
	switch {
	case err == nil:
		s.entries, s.sequence, s.last = chunk.Entries, chunk.First, chunk.Last
		s.boot = chunk.Header.Offset
		s.Read += uint64(len(chunk.Entries))
		s.position = max(s.position, chunk.First-1)
		s.skip = Skip{}
		return nil
	case err == io.EOF:
		s.position = max(s.position, s.reader.Cursor().Sequence)
		return io.EOF
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	lack, ok := s.skip.Read(s.log, err)
	switch {
	case !ok:
		return &fault.StoreError{Err: err}
	case lack.Last != 0:
		s.miss(lack.First, lack.Last, lack.Reason)
	case lack.Newest || lack.Reason == event.PassedOver:
		s.position = max(s.position, s.reader.Cursor().Sequence)
		at := s.Cursor()
		s.gap = &Gap{From: at, To: at, Reason: lack.Reason}
	}
	return nil
}

// Skip is the reason why a reader skips a part of the log, while the number of
// missing entries is unknown.
type Skip struct{ reason event.MissingReason }

// Read handles an error of a logstore.Reader after which reading continues; ok is
// false for other errors.
func (s *Skip) Read(l *Log, err error) (lack entry.Lack, ok bool) {
	lack, ok = entry.LackOf(err)
	switch {
	case !ok || lack.Reason == event.PassedOver:
		return lack, ok
	case lack.Reason == event.Truncated:
		// Entries that are missing after a skipped part are missing for the same
		// reason.
		if s.reason != "" {
			lack.Reason = s.reason
		}
		s.reason = ""
		return lack, true
	}
	if unreadable, is := segment.AsUnreadable(err); is {
		l.health.note(unreadable)
	}
	s.reason = lack.Reason
	return lack, true
}

// miss records that the entries from first to last are missing.
func (s *Scanner) miss(first, last uint64, reason event.MissingReason) {
	store := s.reader.Store()
	s.gap = &Gap{
		From:    logstore.Cursor{Store: store, Sequence: max(first-1, s.position)},
		To:      logstore.Cursor{Store: store, Sequence: last},
		Entries: last - first + 1, Reason: reason,
	}
}

// step reads the next entry of the chunk and reports whether it matches.
func (s *Scanner) step(e *event.Entry) bool {
	var n int
	var err error
	if s.undecoded {
		n, err = event.Len(s.entries)
	} else {
		n, err = event.Decode(s.entries, &s.group)
	}
	if err != nil || s.sequence > s.last {
		s.entries = nil
		s.miss(s.sequence, max(s.last, s.sequence), event.Corrupt)
		return false
	}
	*e = event.Entry{Sequence: s.sequence, Group: &s.group, Raw: s.entries[:n], Boot: s.boot}
	s.entries = s.entries[n:]
	s.position = s.sequence
	s.sequence++
	if len(s.entries) == 0 && s.sequence <= s.last {
		// The chunk has fewer entries than its header claims: this one is intact.
		s.miss(s.sequence, s.last, event.Corrupt)
	}
	return s.undecoded || s.filter.Everything || s.filter.Passes(&s.group, filter.Name(&s.group), s.boot)
}

// unread reverts the last call of next, which returned an entry.
func (s *Scanner) unread(e *event.Entry) {
	// The entries of a chunk are contiguous.
	s.entries = e.Raw[: len(e.Raw)+len(s.entries) : cap(e.Raw)]
	s.sequence = e.Sequence
	s.position = e.Sequence - 1
	s.gap = nil
}

// Cursor returns the position as a cursor.
func (s *Scanner) Cursor() logstore.Cursor {
	return logstore.Cursor{Store: s.reader.Store(), Sequence: s.position}
}
