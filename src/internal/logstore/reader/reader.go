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
	"sort"

	"crypto-auditing/src/internal/logstore/cursor"
	"crypto-auditing/src/internal/logstore/frame"
	"crypto-auditing/src/internal/logstore/segment"
)

// Options configure a Reader. EntryLen is required.
type Options struct {
	// EntryLen splits entries.
	EntryLen frame.LenFunc
	// Query says which chunks may be left out.
	Query Query
}

// MissingError says that entries are gone: their segments were removed.
// Reading goes on behind them.
type MissingError struct{ From, To uint64 }

func (e *MissingError) Error() string {
	return fmt.Sprintf("%d entries, %d to %d, have been removed", e.To-e.From+1, e.From, e.To)
}

// Reader reads a store in order. It takes no lock and never changes anything.
// It is for one goroutine; a store may have any number.
type Reader struct {
	dir     string
	single  string // the path of the one file that is read, instead of dir
	opts    Options
	decoder *frame.Decoder
	store   [16]byte // zero until a header has been read
	watch   *watch

	// next is the sequence wanted next. The segment is nil between segments;
	// first is its name's, or that of the one read last.
	next    uint64
	segment *segment.Segment
	first   uint64
	offset  int64
	size    int64 // what the file is known to hold

	// passed is the newest segment when it could not be read, and the sequence
	// wanted then: that is reported once.
	passed struct{ first, next uint64 }
	// noted are the files that were passed over, by their names, notes what of
	// that is still to be reported.
	noted map[uint64]bool
	notes []error

	// seeking says that the chunk which Next would return is looked for.
	seeking bool

	back    back
	chunk   Chunk
	entries []byte
}

// Open opens the store in dir for reading, before its oldest entry. The
// directory must exist; it may be empty.
func Open(dir string, opts Options) (*Reader, error) {
	r, err := newReader(dir, opts)
	if err != nil {
		return nil, err
	}
	list, err := segment.List(dir)
	if err == nil {
		r.store, _, err = segment.StoreID(dir, list)
	}
	if err == nil || isPlaced(err) || errors.Is(err, fs.ErrNotExist) && list != nil {
		return r, nil
	}
	r.Close()
	return nil, err
}

// OpenFile opens one segment file, wherever it is.
func OpenFile(ctx context.Context, path string, opts Options) (*Reader, error) {
	r, err := newReader(filepath.Dir(path), opts)
	if err != nil {
		return nil, err
	}
	r.single = path
	h, err := r.anyHeader(ctx)
	if err == nil {
		r.store = h.StoreID
	}
	if err == nil || err == io.EOF || isPlaced(err) {
		return r, nil
	}
	r.Close()
	return nil, err
}

func newReader(dir string, opts Options) (*Reader, error) {
	d, err := frame.NewDecoder()
	if err != nil {
		return nil, err
	}
	return &Reader{dir: dir, opts: opts, decoder: d}, nil
}

// Close releases what the Reader holds.
func (r *Reader) Close() error {
	r.leave()
	r.back.leave()
	r.decoder.Close()
	return r.watch.close()
}

// leave closes the segment.
func (r *Reader) leave() {
	if r.segment != nil {
		r.segment.Close()
		r.segment = nil
	}
	r.offset, r.size = 0, 0
}

// Store returns the id of the store, zero as long as it is empty.
func (r *Reader) Store() [16]byte { return r.store }

// Cursor returns the position of the Reader: behind what it has returned or
// left out.
func (r *Reader) Cursor() cursor.Cursor {
	return cursor.Cursor{Store: r.store, Sequence: max(r.next, 1) - 1}
}

// Next returns the next chunk that the query cannot leave out. Errors:
// io.EOF: nothing more now, Wait and try again; *CorruptError,
// *UnreadableError, *MissingError: something is missing, the next call
// continues after it; *ForeignError: a file was passed over; *IncompatibleError:
// the next call continues with the next segment; that of ctx; others: reading failed, the next call tries
// again.
func (r *Reader) Next(ctx context.Context) (*Chunk, error) {
	r.back.leave()
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		var chunk *Chunk
		var err error
		if r.segment == nil {
			err = r.enter(ctx)
		} else {
			chunk, err = r.step(ctx)
		}
		if unreadable, ok := segment.AsUnreadable(err); ok {
			err = r.pass(unreadable)
		}
		if (err == nil || err == io.EOF) && chunk == nil && len(r.notes) > 0 {
			err = r.notes[0]
			r.notes = r.notes[1:]
		}
		if chunk != nil || err != nil {
			return chunk, err
		}
	}
}

// crashJump is how far sequences continue above those that may be gone after a
// crash of the machine.
const crashJump = 1 << 32

// pass leaves the segment r.first, which cannot be read, for the next one, and
// completes the error with what is missing. The newest segment is tried again
// by later calls.
func (r *Reader) pass(e *UnreadableError) error {
	first := r.first
	r.leave()
	list, err := r.list()
	if err != nil {
		return err
	}
	i, found := slices.BinarySearch(list, first)
	if r.next == 0 || r.next+crashJump <= first {
		r.next = first
	}
	if i == 0 && r.next < first {
		// Enter it again after that is reported.
		r.first = first - 1
		return r.missing(first, 0)
	}
	if found {
		i++
	}
	e.From = r.next
	switch {
	case i < len(list):
		h, err := r.firstHeader(list[i])
		if err != nil {
			return e // a later segment shows how much is missing
		}
		if h.SequenceBefore < r.next {
			return nil // everything before was read
		}
		e.To = h.SequenceBefore
		r.next = e.To + 1
		return e
	case r.single != "":
		return e
	}
	e.Newest = true
	r.first = first - 1
	if r.passed.first == first && r.passed.next == r.next {
		return io.EOF
	}
	r.passed.first, r.passed.next = first, r.next
	return e
}

// hop uses the index of a sealed segment, or the end of another, to get to
// r.next, or over the whole segment if the query leaves it out.
func (r *Reader) hop() error {
	x, sealed, err := r.segment.Index()
	if err != nil && !isPlaced(err) {
		return err
	}
	if err != nil || !sealed || x.StoreID != r.store {
		return r.hopBack()
	}
	if !r.opts.Query.matchesIndex(x) && x.LastSequence >= r.next {
		missing := r.missing(x.Sequence, 0)
		r.next = x.LastSequence + 1
		r.leave()
		return missing
	}
	places := make([]segment.Place, len(x.Records))
	for i, record := range x.Records {
		places[i] = segment.Place{Offset: record.Offset, Sequence: record.Sequence}
	}
	r.hopTo(places)
	return nil
}

// hopBack looks whether r.next is near the end of the segment.
func (r *Reader) hopBack() error {
	if r.next <= r.first {
		return nil
	}
	size, err := r.segment.Size()
	if err != nil {
		return err
	}
	places, err := r.segment.Before(size, r.store)
	if err == nil && len(places) > 0 && places[0].Sequence <= r.next {
		r.hopTo(places)
	}
	return err
}

// hopTo goes to the last of the places that is not behind r.next, if there is
// a chunk as it says.
func (r *Reader) hopTo(places []segment.Place) {
	i := sort.Search(len(places), func(i int) bool { return places[i].Sequence > r.next }) - 1
	if i < 0 {
		return
	}
	var h frame.Header
	if err := r.segment.Header(places[i].Offset, &h); err == nil && h.Sequence == places[i].Sequence && h.StoreID == r.store {
		r.offset = places[i].Offset
	}
}

// missing returns an error if sequences between the wanted one and have were
// removed. before is the sequence before a jump, 0 for none.
func (r *Reader) missing(have, before uint64) error {
	if r.next == 0 || have <= r.next {
		return nil
	}
	e := &MissingError{From: r.next, To: have - 1}
	if before != 0 && before < e.To {
		e.To = before
	}
	r.next = have
	if e.To < e.From {
		return nil
	}
	return e
}

// step looks at the chunk at r.offset: it returns it, or leaves it out and
// returns nothing.
func (r *Reader) step(ctx context.Context) (*Chunk, error) {
	h := &r.chunk.Header
	if err := r.segment.Header(r.offset, h); err != nil {
		return nil, r.stop(ctx, err)
	}
	if r.store == [16]byte{} {
		r.store = h.StoreID
	}
	if h.StoreID != r.store {
		return nil, r.stop(ctx, r.corrupt(frame.KindStore, "the chunk belongs to another store"))
	}
	if r.next != 0 && h.Flags&frame.Start == 0 && h.Sequence > r.next && r.offset > 0 {
		e := r.corrupt(frame.KindSequence, fmt.Sprintf("sequence %d where %d should be", h.Sequence, r.next))
		e.From, e.To = r.next, h.Sequence-1
		r.next = h.Sequence
		return nil, e
	}
	if err := r.missing(h.Sequence, h.SequenceBefore); err != nil {
		return nil, err
	}
	whole, err := r.holds(r.offset + h.ChunkSize())
	if err != nil {
		return nil, err
	}
	if !whole {
		return nil, r.stop(ctx, r.corrupt(frame.KindTorn, "the file ends inside a chunk"))
	}
	offset, end := r.offset, r.offset+h.ChunkSize()
	if h.LastSequence() < r.next || !r.opts.Query.matches(h) {
		r.offset = end
		r.next = max(r.next, h.LastSequence()+1)
		return nil, nil
	}
	if r.seeking {
		return nil, errSought
	}
	r.entries, err = r.segment.Entries(r.entries, r.decoder, offset, h)
	if err != nil {
		return nil, r.stop(ctx, err)
	}
	c := &r.chunk
	c.set(r.segment.Path(), offset, r.entries, r.opts.EntryLen)
	want := r.next
	r.offset, r.next = end, h.LastSequence()+1
	if err := c.skipTo(want); err != nil {
		return nil, err
	}
	return c, nil
}

func (r *Reader) corrupt(kind frame.Kind, detail string) *CorruptError {
	return &CorruptError{Segment: r.segment.Path(), Offset: r.offset, Kind: kind, Detail: detail}
}

// holds reports whether the file is at least end bytes long.
func (r *Reader) holds(end int64) (bool, error) {
	if end <= r.size {
		return true, nil
	}
	size, err := r.segment.Size()
	if err != nil {
		return false, err
	}
	r.size = size
	return end <= size, nil
}

// stop handles that no chunk could be read at r.offset. In the newest segment
// that may be because it is still being written.
func (r *Reader) stop(ctx context.Context, err error) error {
	corrupt, isCorrupt := segment.AsCorrupt(err)
	if err != io.EOF && !isPlaced(err) {
		return err
	}
	if err != io.EOF && !isCorrupt {
		r.leave()
		return err
	}
	finished, listErr := r.finished()
	if listErr != nil {
		return listErr
	}
	if finished {
		// The writer may have gone on before it began the later segment.
		if again, err := r.changed(); again || err != nil {
			return err
		}
	}
	if isCorrupt {
		at, err := r.segment.Search(ctx, r.offset+1, r.trusted)
		if err == nil {
			// What comes before a later chunk has been written to its end, be it
			// since it was looked at.
			if corrupt.Kind == frame.KindTorn && r.whole() {
				return nil
			}
			return r.skip(corrupt, at)
		}
		if err != io.EOF {
			return err
		}
	}
	if !finished {
		r.segment.Forget()
		return io.EOF
	}
	size, sizeErr := r.segment.Size()
	if sizeErr != nil {
		return sizeErr
	}
	if isCorrupt {
		corrupt.Skipped = size - r.offset
		r.count(corrupt)
	}
	r.leave()
	if err == io.EOF {
		return nil
	}
	return err
}

// whole reports whether there is a whole chunk at r.offset by now.
func (r *Reader) whole() bool {
	r.segment.Forget()
	var h frame.Header
	if r.segment.Header(r.offset, &h) != nil {
		return false
	}
	whole, err := r.holds(r.offset + h.ChunkSize())
	return whole && err == nil
}

// count completes the error about the end of a segment with what is missing,
// which the beginning of the next one tells.
func (r *Reader) count(corrupt *CorruptError) {
	list, err := r.list()
	if err != nil || r.next == 0 {
		return
	}
	i, found := slices.BinarySearch(list, r.first)
	if found {
		i++
	}
	if i == len(list) {
		return
	}
	if h, err := r.firstHeader(list[i]); err == nil && h.SequenceBefore >= r.next {
		corrupt.From, corrupt.To = r.next, h.SequenceBefore
		r.next = h.SequenceBefore + 1
	}
}

// trusted decides whether a chunk found behind damage is believed.
func (r *Reader) trusted(h *frame.Header) bool {
	return (r.store == [16]byte{} || h.StoreID == r.store) && h.Sequence >= r.next
}

// skip goes on at a later chunk and completes the error with what is missing.
func (r *Reader) skip(corrupt *CorruptError, at int64) error {
	var h frame.Header
	if err := r.segment.Header(at, &h); err != nil {
		return err
	}
	corrupt.Skipped = at - r.offset
	if r.next != 0 && h.Sequence > r.next {
		corrupt.From, corrupt.To = r.next, h.Sequence-1
	}
	r.offset, r.next = at, h.Sequence
	return corrupt
}

// changed reports whether the file has grown since it was last looked at, and
// makes the next look see what it holds now.
func (r *Reader) changed() (bool, error) {
	size, err := r.segment.Size()
	if err != nil {
		return false, err
	}
	grown := size != r.size
	r.size = size
	if grown {
		r.segment.Forget()
	}
	return grown, nil
}

// isPlaced reports whether err is about what a place in a file holds.
func isPlaced(err error) bool {
	_, corrupt := segment.AsCorrupt(err)
	var incompatible *IncompatibleError
	return corrupt || errors.As(err, &incompatible)
}
