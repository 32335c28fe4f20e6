// SPDX-License-Identifier: Apache-2.0

package reader

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"crypto-auditing/src/internal/logstore/frame"
	"crypto-auditing/src/internal/logstore/segment"
)

// kind is what a file named as a segment is.
type kind int

const (
	// genuine: it begins as a segment of the store does, or at least holds
	// chunks that can be in it.
	genuine kind = iota
	// gone: it was removed since it was listed.
	gone
	// foreign: it is a segment of another store or has the name of another one.
	foreign
	// bad: it cannot be opened or read, or holds no chunk of the store.
	bad
	// unknown: this process cannot find out now.
	unknown
)

// look opens the file with the given name and finds out what it is. s is nil and
// err the reason unless it is genuine.
func (r *Reader) look(first uint64) (s *segment.Segment, k kind, err error) {
	path := r.path(first)
	s, err = segment.Open(path)
	switch _, unreadable := segment.AsUnreadable(err); {
	case err == nil:
	case errors.Is(err, fs.ErrNotExist):
		return nil, gone, err
	case unreadable:
		return nil, bad, err
	default:
		return nil, unknown, err
	}
	if r.single != "" {
		return s, genuine, nil
	}
	if k, err = r.inspect(s, first); k != genuine {
		_ = s.Close()
		s = nil
	}
	return s, k, err
}

// inspect finds out what an open file is.
func (r *Reader) inspect(s *segment.Segment, first uint64) (kind, error) {
	var h frame.Header
	err := s.Header(0, &h)
	if err == nil {
		err = segment.Belongs(&h, first, r.store)
	}
	var odd *ForeignError
	_, isCorrupt := segment.AsCorrupt(err)
	_, unreadable := segment.AsUnreadable(err)
	switch {
	case err == nil:
		return genuine, nil
	case errors.As(err, &odd):
		return foreign, err
	case isCorrupt:
		h, ok, newestErr := s.Newest(r.store)
		if newestErr == nil && ok && h.Sequence >= first {
			return genuine, nil // and damaged where it begins
		}
		return bad, err
	case unreadable || err == io.EOF || isPlaced(err):
		return bad, err
	}
	return unknown, err
}

// errListed ends choosing a segment where the directory has changed meanwhile.
var errListed = errors.New("the list of segments has changed")

// enter opens the segment that holds r.next, or else the next one.
func (r *Reader) enter(ctx context.Context) error {
	for range maxListings {
		if err := ctx.Err(); err != nil {
			return err
		}
		list, err := r.list()
		if err != nil {
			return err
		}
		if err := r.choose(ctx, list); err != errListed {
			return err
		}
	}
	return fmt.Errorf("cannot open segment: the log directory %s changes all the time", r.dir)
}

// maxListings bounds how often the directory is listed when segments are removed
// in between.
const maxListings = 1000

// choose opens a segment of the list: the last one that begins at or before
// r.next, or else the first one after it. One that was left is not chosen
// again. Files that are not segments of the store are noted.
func (r *Reader) choose(ctx context.Context, list []uint64) error {
	at, exact := slices.BinarySearch(list, r.next)
	if !exact {
		at--
	}
	low, found := slices.BinarySearch(list, r.first)
	if found {
		low++
	}
	var broken error
	brokenAt := -1
	for i := at; i >= low; i-- {
		s, k, err := r.look(list[i])
		switch k {
		case gone:
			return errListed
		case unknown:
			return err
		case foreign:
			r.note(list[i], err)
		case bad:
			if brokenAt < 0 {
				broken, brokenAt = err, i
			}
		case genuine:
			if i < at && !r.reaches(s) {
				_ = s.Close()
				i = low // nor do those before it
				continue
			}
			r.noteBetween(list[low:i])
			return r.open(s, list[i])
		}
	}
	if brokenAt >= 0 {
		if r.later(list[brokenAt+1:]) {
			return r.openBroken(list[brokenAt], broken)
		}
		r.note(list[brokenAt], broken)
	}
	for i := max(at+1, low); i < len(list); i++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		s, k, err := r.look(list[i])
		switch k {
		case gone:
			return errListed
		case unknown:
			return err
		case foreign:
			r.note(list[i], err)
		case bad:
			if r.later(list[i+1:]) {
				return r.openBroken(list[i], err)
			}
			r.note(list[i], err)
		case genuine:
			return r.open(s, list[i])
		}
	}
	return io.EOF
}

// reaches reports whether a segment holds r.next.
func (r *Reader) reaches(s *segment.Segment) bool {
	h, ok, err := s.Newest(r.store)
	return err == nil && ok && h.LastSequence() >= r.next
}

// later reports whether one of the files is a segment of the store.
func (r *Reader) later(list []uint64) bool {
	if r.single != "" {
		return true
	}
	for _, first := range list {
		s, k, _ := r.look(first)
		if k == genuine {
			_ = s.Close()
			return true
		}
	}
	return false
}

// open begins to read a segment.
func (r *Reader) open(s *segment.Segment, first uint64) error {
	r.first, r.segment = first, s
	everything := r.opts.Query.everything()
	if !everything || r.next > first {
		if err := r.hop(); err != nil || r.segment == nil {
			return err
		}
	}
	s.Sequential(everything)
	return nil
}

// openBroken passes over a file that cannot be read, of which the segments after
// it show what is missing.
func (r *Reader) openBroken(first uint64, err error) error {
	r.first = first
	if _, unreadable := segment.AsUnreadable(err); unreadable {
		return err // pass completes it
	}
	s, openErr := segment.Open(r.path(first))
	if errors.Is(openErr, fs.ErrNotExist) {
		r.first = first - 1
		return errListed
	}
	if openErr != nil {
		return openErr
	}
	return r.open(s, first)
}

// note has Next report a file that is passed over, once. One that is empty, or
// ends in its first chunk, may be under way.
func (r *Reader) note(first uint64, err error) {
	if corrupt, ok := segment.AsCorrupt(err); ok && corrupt.Kind != frame.KindTorn {
		err = &ForeignError{Name: segment.Name(first), Detail: "it holds no chunk of this log"}
	} else if ok || err == io.EOF {
		return
	}
	if r.noted[first] || len(r.noted) >= maxNoted {
		return
	}
	if r.noted == nil {
		r.noted = map[uint64]bool{}
	}
	r.noted[first] = true
	if unreadable, ok := segment.AsUnreadable(err); ok {
		// Its entries may follow: it is tried again.
		unreadable.From, unreadable.Newest = max(r.next, 1), true
		if r.next == 0 {
			unreadable.From = first
		}
	}
	r.notes = append(r.notes, err)
}

// maxNoted bounds how many files are reported.
const maxNoted = 1000

// noteBetween notes files whose names are between the segment that was left and
// the one after it, so that nothing of the store can be in them.
func (r *Reader) noteBetween(list []uint64) {
	if r.first == 0 {
		return // others are segments before the one sought
	}
	for _, first := range list {
		r.note(first, &ForeignError{Name: segment.Name(first), Detail: "its name is that of an entry in another segment"})
	}
}

// finished reports whether there is a later segment. Other files with later
// names are noted.
func (r *Reader) finished() (bool, error) {
	if r.single != "" {
		return true, nil
	}
	list, err := segment.List(r.dir)
	if err != nil {
		return false, err
	}
	low, found := slices.BinarySearch(list, r.first)
	if found {
		low++
	}
	type other struct {
		first uint64
		err   error
	}
	var others []other
	for _, first := range list[low:] {
		s, k, err := r.look(first)
		switch k {
		case genuine:
			_ = s.Close()
			return true, nil // what is in between is noted on the way to it
		case foreign, bad:
			others = append(others, other{first, err})
		case unknown:
			return false, err
		case gone:
		}
	}
	for _, o := range others {
		r.note(o.first, o.err)
	}
	return false, nil
}
