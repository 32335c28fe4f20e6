// SPDX-License-Identifier: Apache-2.0

package around

import (
	"bytes"
	"context"
	"errors"
	"io"

	"crypto-auditing/src/internal/cli/source"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
)

// Skipper finds the parts of a log that need not be read backwards, because they lack a
// sign that all selected operations have.
type Skipper struct {
	finder source.Store
	has    func(*event.Group) bool
	// low is the entry after which the log has been searched, size the number of
	// entries that the next search covers. hits are the entries with the sign, others
	// the notices and gaps, both in the order of the log.
	low    uint64
	size   uint64
	hits   []uint64
	others []NoticeOrGap
}

// NoticeOrGap is a notice, with the boot time of its entry, or a gap.
type NoticeOrGap struct {
	Raw  []byte
	Boot int64
	Gap  *source.GapError

	sequence uint64 // that precedes it, or its own
}

// NewSkipper returns a Skipper that searches backwards from the newest entry with a
// finder, see Options.Finder.
func NewSkipper(finder source.Store, has func(*event.Group) bool, newest logstore.Cursor) *Skipper {
	return &Skipper{finder: finder, has: has, low: newest.Sequence, size: 4 * maxPage}
}

// Before returns the last entry with the sign up to at; ok is false if there is none
// after begin.
func (s *Skipper) Before(ctx context.Context, at logstore.Cursor, begin uint64) (hit uint64, ok bool, err error) {
	for {
		for n := len(s.hits); n > 0 && s.hits[n-1] > at.Sequence; n-- {
			s.hits = s.hits[:n-1]
		}
		if n := len(s.hits); n > 0 {
			return s.hits[n-1], s.hits[n-1] > begin, nil
		}
		if s.low <= begin {
			return 0, false, nil
		}
		if err := s.search(ctx, logstore.Cursor{Store: at.Store, Sequence: s.low}, begin); err != nil {
			return 0, false, err
		}
	}
}

// search searches the part of the log before to.
func (s *Skipper) search(ctx context.Context, to logstore.Cursor, begin uint64) error {
	from, more, err := s.finder.StepBack(to, s.size)
	if err != nil {
		return err
	}
	if !more || from.Sequence <= begin {
		from = logstore.Cursor{Store: to.Store, Sequence: begin}
	}
	if _, err := s.finder.Seek(from); err != nil {
		return err
	}
	s.low = from.Sequence
	s.size *= 2
	var others []NoticeOrGap
	var g event.Group
	last := from.Sequence
	for n := 0; ; n++ {
		if n%checks == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		raw, boot, err := s.finder.Next(&g)
		var gap *source.GapError
		switch {
		case errors.As(err, &gap):
			others = append(others, NoticeOrGap{sequence: last, Gap: gap})
			continue
		case err != nil && err != io.EOF:
			return err
		}
		if err == io.EOF || s.finder.Sequence() > to.Sequence {
			break
		}
		last = s.finder.Sequence()
		switch {
		case g.IsMetadata():
			others = append(others, NoticeOrGap{sequence: last, Raw: bytes.Clone(raw), Boot: boot})
		case s.has(&g):
			s.hits = append(s.hits, last)
		}
	}
	s.others = append(others, s.others...)
	return nil
}

// Between calls take for the notices and gaps after the entry from, up to the entry to,
// and discards them and all later ones.
func (s *Skipper) Between(from, to uint64, take func(m *NoticeOrGap)) {
	n := len(s.others)
	for ; n > 0 && s.others[n-1].sequence > from; n-- {
		if s.others[n-1].sequence <= to {
			take(&s.others[n-1])
		}
	}
	s.others = s.others[:n]
}
