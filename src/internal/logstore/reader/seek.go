// SPDX-License-Identifier: Apache-2.0

package reader

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"

	"crypto-auditing/src/internal/logstore/cursor"
	"crypto-auditing/src/internal/logstore/frame"
	"crypto-auditing/src/internal/logstore/segment"
)

// Resolve converts the text of a cursor, or one of the words oldest and newest, to a cursor
// of this store. Errors are cursor.ErrInvalid and cursor.ErrForeign.
func (r *Reader) Resolve(text string) (cursor.Cursor, error) {
	switch text {
	case cursor.Oldest:
		return r.Oldest()
	case cursor.Newest:
		return r.Newest()
	}
	c, err := cursor.Parse(text)
	if err != nil {
		return cursor.Cursor{}, err
	}
	return c, r.own(c)
}

func (r *Reader) own(c cursor.Cursor) error {
	if c.Store != r.store && r.store != [16]byte{} {
		return fmt.Errorf("%w: %s", cursor.ErrForeign, c)
	}
	return nil
}

// Seek positions the Reader after c. missing is the number of entries after c that have been
// removed; reading then starts at the oldest entry.
func (r *Reader) Seek(c cursor.Cursor) (missing uint64, err error) {
	if err := r.own(c); err != nil {
		return 0, err
	}
	list, err := r.list()
	if err != nil {
		return 0, err
	}
	r.move(c.Sequence + 1)
	if len(list) == 0 || list[0] <= r.next {
		return 0, nil
	}
	before := list[0] - 1
	if h, err := r.firstHeader(list[0]); err == nil && h.SequenceBefore < before {
		before = h.SequenceBefore
	}
	if before >= r.next {
		missing = before - r.next + 1
	}
	r.next = list[0]
	return missing, nil
}

// Oldest returns the cursor before the oldest entry.
func (r *Reader) Oldest() (cursor.Cursor, error) {
	list, err := r.list()
	if err != nil || len(list) == 0 {
		return cursor.Cursor{Store: r.store}, err
	}
	return cursor.Cursor{Store: r.store, Sequence: list[0] - 1}, nil
}

// Newest returns the cursor after the newest entry that is committed and readable.
func (r *Reader) Newest() (cursor.Cursor, error) {
	list, err := r.list()
	if err != nil {
		return cursor.Cursor{}, err
	}
	for _, first := range slices.Backward(list) {
		last, ok, err := r.last(first)
		if _, unreadable := segment.AsUnreadable(err); unreadable {
			continue
		}
		if err != nil {
			return cursor.Cursor{}, err
		}
		if ok {
			return cursor.Cursor{Store: r.store, Sequence: last}, nil
		}
	}
	return cursor.Cursor{Store: r.store}, nil
}

// After reports whether c is after the newest entry. It assumes that an unreadable segment
// has all its entries.
func (r *Reader) After(c cursor.Cursor) (bool, error) {
	list, err := r.list()
	if err != nil {
		return false, err
	}
	for _, first := range slices.Backward(list) {
		last, ok, err := r.last(first)
		if _, unreadable := segment.AsUnreadable(err); unreadable {
			if c.Sequence >= first {
				return false, nil
			}
			continue
		}
		if err != nil {
			return false, err
		}
		if ok {
			return c.Sequence > last, nil
		}
	}
	return c.Sequence > 0, nil
}

// last returns the last sequence of a segment; ok is false if it has no whole chunk or was
// removed.
func (r *Reader) last(first uint64) (sequence uint64, ok bool, err error) {
	s, err := segment.Open(r.path(first))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	defer s.Close()
	h, ok, err := s.Newest(r.store)
	if err != nil || !ok || h.Sequence < first && r.single == "" {
		return 0, false, err // a copy of another segment has lower sequences
	}
	return h.LastSequence(), true, nil
}

// errFound reports that the next chunk is the one sought.
var errFound = errors.New("the chunk is next")

// SeekTime positions the Reader before the first chunk with an entry that may end at or after
// the real time t (nanoseconds since the Unix epoch), or before an unreadable part of the
// log.
func (r *Reader) SeekTime(ctx context.Context, t int64) error {
	if err := r.seekSegment(ctx, t); err != nil {
		return err
	}
	query := r.opts.Query
	r.opts.Query, r.seeking = Query{Since: t}, true
	defer func() { r.opts.Query, r.seeking = query, false }()
	for {
		at := r.next
		if err := ctx.Err(); err != nil {
			return err
		}
		var err error
		if r.segment == nil {
			err = r.enter(ctx)
		} else {
			_, err = r.step(ctx)
		}
		switch {
		case err == errFound || err == io.EOF:
			return nil
		case err != nil || len(r.notes) > 0:
			r.move(at) // Next reports it
			return nil
		}
	}
}

// seekSegment positions the Reader at a segment before which no entry ends at or after the
// real time t.
func (r *Reader) seekSegment(ctx context.Context, t int64) error {
	list, err := r.list()
	if err != nil {
		return err
	}
	r.move(0)
	var here frame.Header
	hereOK := false
	for i, first := range list {
		if !hereOK {
			here, err = r.firstHeader(first)
			hereOK = err == nil
		}
		var later frame.Header
		laterOK := false
		if i+1 < len(list) {
			later, err = r.firstHeader(list[i+1])
			laterOK = err == nil
		}
		over := hereOK && laterOK && here.BootID == later.BootID && frame.RealTime(later.First, here.Offset) < t
		if !over {
			over, err = r.endsBefore(ctx, first, t)
			if _, unreadable := segment.AsUnreadable(err); unreadable {
				over, err = r.beginsBefore(list[i+1:], t), nil
			}
			if err != nil {
				return err
			}
		}
		if !over {
			r.move(first)
			return nil
		}
		here, hereOK = later, laterOK
	}
	return r.SeekNewest()
}

// Rewind positions the Reader before the oldest entry, as Open does.
func (r *Reader) Rewind() { r.move(0) }

// SeekNewest positions the Reader after the newest entry.
func (r *Reader) SeekNewest() error {
	newest, err := r.Newest()
	if err == nil {
		r.move(newest.Sequence + 1)
	}
	return err
}

// move positions the Reader before a sequence; 0 means before the first one.
func (r *Reader) move(next uint64) {
	r.close()
	r.backward.close()
	r.first, r.next = 0, next
	r.passed.first = 0
	r.noted, r.notes = nil, nil
}

// list returns the first sequences of the segments. For a single file, the sequence is taken
// from its first chunk. If that cannot be read, the file is treated as the first segment of a
// store, so that reading reports the damage and continues after it.
func (r *Reader) list() ([]uint64, error) {
	if r.single == "" {
		return segment.List(r.dir)
	}
	h, err := r.firstHeader(0)
	if _, unreadable := segment.AsUnreadable(err); unreadable || isPlaced(err) {
		return []uint64{1}, nil
	}
	if err != nil {
		return nil, err
	}
	return []uint64{h.Sequence}, nil
}

// path returns the path of the segment with the given first sequence.
func (r *Reader) path(first uint64) string {
	if r.single != "" {
		return r.single
	}
	return filepath.Join(r.dir, segment.Name(first))
}

// endsBefore reports whether all entries of a segment are before t.
func (r *Reader) endsBefore(ctx context.Context, first uint64, t int64) (bool, error) {
	s, err := segment.Open(r.path(first))
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	defer s.Close()
	b, ok, err := s.Bounds(ctx)
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	return err == nil && ok && frame.RealTime(b.LastTime, b.Offset) < t, nil
}

// beginsBefore reports whether the first of the segments whose start is readable begins
// before t.
func (r *Reader) beginsBefore(list []uint64, t int64) bool {
	for _, first := range list {
		if h, err := r.firstHeader(first); err == nil {
			return frame.RealTime(h.First, h.Offset) < t
		}
	}
	return false
}

// firstHeader reads the first header of a segment.
func (r *Reader) firstHeader(first uint64) (h frame.Header, err error) {
	s, err := segment.Open(r.path(first))
	if err != nil {
		return h, err
	}
	defer s.Close()
	err = s.Header(0, &h)
	h.Filter = frame.Filter{}
	return h, err
}

// anyHeader reads the first intact chunk header of the single file.
func (r *Reader) anyHeader(ctx context.Context) (h frame.Header, err error) {
	s, err := segment.Open(r.single)
	if err != nil {
		return h, err
	}
	defer s.Close()
	err = s.Header(0, &h)
	if _, corrupt := segment.AsCorrupt(err); corrupt {
		var at int64
		at, err = s.Search(ctx, 1, func(*frame.Header) bool { return true })
		if err == nil {
			err = s.Header(at, &h)
		}
	}
	h.Filter = frame.Filter{}
	return h, err
}
