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

// kind is the kind of a file with the name of a segment.
type kind int

const (
	// genuine: its start is that of a segment of the store, or at least it has chunks
	// that can belong to the store.
	genuine kind = iota
	// removed: it was removed after it was listed.
	removed
	// foreign: it is a segment of another store or has the name of another segment.
	foreign
	// bad: it cannot be opened or read, or has no chunk of the store.
	bad
	// unknown: this process cannot determine it now.
	unknown
)

// examine opens the file with the given name and determines its kind. Unless the file is
// genuine, s is nil and err is the reason.
func (r *Reader) examine(first uint64) (s *segment.Segment, k kind, err error) {
	path := r.path(first)
	s, err = segment.Open(path)
	switch _, unreadable := segment.AsUnreadable(err); {
	case err == nil:
	case errors.Is(err, fs.ErrNotExist):
		return nil, removed, err
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

// inspect determines the kind of an open file.
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
			return genuine, nil // and damaged at the start
		}
		return bad, err
	case unreadable || err == io.EOF || isPlaced(err):
		return bad, err
	}
	return unknown, err
}

// errListed reports that the directory changed while a segment was chosen.
var errListed = errors.New("the list of segments has changed")

// enter opens the segment that has r.next, or else the next one.
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

// maxListings limits how often the directory is listed again because segments were removed.
const maxListings = 1000

// choose opens a segment of the list: the last one that begins at or before r.next, or else
// the first one after it. It does not choose a segment again that was left. It notes files
// that are not segments of the store.
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
		s, k, err := r.examine(list[i])
		switch k {
		case removed:
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
				i = low // earlier ones do not reach it, either
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
		s, k, err := r.examine(list[i])
		switch k {
		case removed:
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

// reaches reports whether a segment has entries up to r.next.
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
		s, k, _ := r.examine(first)
		if k == genuine {
			_ = s.Close()
			return true
		}
	}
	return false
}

// open starts to read a segment.
func (r *Reader) open(s *segment.Segment, first uint64) error {
	r.first, r.segment = first, s
	everything := r.opts.Query.everything()
	if !everything || r.next > first {
		if err := r.seekNext(); err != nil || r.segment == nil {
			return err
		}
	}
	s.Sequential(everything)
	return nil
}

// openBroken skips an unreadable file. The segments after it show which entries are missing.
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

// note makes Next report a skipped file once. It ignores a file that is empty or ends in its
// first chunk, because that may be in the process of being written.
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
		// Its entries may become readable, so it is tried again.
		unreadable.From, unreadable.Newest = max(r.next, 1), true
		if r.next == 0 {
			unreadable.From = first
		}
	}
	r.notes = append(r.notes, err)
}

// maxNoted limits the number of reported files.
const maxNoted = 1000

// noteBetween notes files whose names are between the segment left and the next one, and
// which therefore cannot belong to the store.
func (r *Reader) noteBetween(list []uint64) {
	if r.first == 0 {
		return // the others are segments before the one sought
	}
	for _, first := range list {
		r.note(first, &ForeignError{Name: segment.Name(first), Detail: "its name is that of an entry in another segment"})
	}
}

// finished reports whether there is a later segment. It notes other files with later names.
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
		s, k, err := r.examine(first)
		switch k {
		case genuine:
			_ = s.Close()
			return true, nil // files in between are noted on the way to it
		case foreign, bad:
			others = append(others, other{first, err})
		case unknown:
			return false, err
		case removed:
		}
	}
	for _, o := range others {
		r.note(o.first, o.err)
	}
	return false, nil
}
