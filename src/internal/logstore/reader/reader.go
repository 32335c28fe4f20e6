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
	// EntryLen splits the entries.
	EntryLen frame.LenFunc
	// Query selects the chunks to return.
	Query Query
}

// MissingError reports that entries are missing because their segments were removed. Reading
// continues after them.
type MissingError struct{ From, To uint64 }

func (e *MissingError) Error() string {
	return fmt.Sprintf("%d entries, %d to %d, have been removed", e.To-e.From+1, e.From, e.To)
}

// Reader reads a store in order. It takes no lock and never changes the store. It is for use
// by one goroutine; a store may have any number of Readers.
type Reader struct {
	dir     string
	single  string // the path of the only file to read, instead of dir
	opts    Options
	decoder *frame.Decoder
	store   [16]byte // zero before a header was read
	watch   *watch

	// next is the sequence to read next. segment is nil between segments; first is the
	// number in its name, or in that of the segment read last.
	next    uint64
	segment *segment.Segment
	first   uint64
	offset  int64
	size    int64 // the known size of the file

	// passed is the newest segment when it could not be read, and next at that time. It is
	// reported once.
	passed struct{ first, next uint64 }
	// noted are the skipped files, by the numbers in their names, and notes the reports
	// about them that Next has not yet returned.
	noted map[uint64]bool
	notes []error

	// seeking is set during the search for the chunk that Next would return.
	seeking bool

	backward backward
	chunk    Chunk
	entries  []byte
}

// Open opens the store in dir for reading and positions the Reader before the oldest entry.
// The directory must exist; it may be empty.
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

// OpenFile opens one segment file at any path.
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

// Close releases the resources of the Reader.
func (r *Reader) Close() error {
	r.close()
	r.backward.close()
	r.decoder.Close()
	return r.watch.close()
}

// close closes the segment.
func (r *Reader) close() {
	if r.segment != nil {
		r.segment.Close()
		r.segment = nil
	}
	r.offset, r.size = 0, 0
}

// Store returns the id of the store, zero while it is empty.
func (r *Reader) Store() [16]byte { return r.store }

// Cursor returns the position of the Reader: after the entries that it has returned or
// skipped.
func (r *Reader) Cursor() cursor.Cursor {
	return cursor.Cursor{Store: r.store, Sequence: max(r.next, 1) - 1}
}

// Next returns the next chunk that the query does not exclude. Errors: io.EOF: there are no
// more chunks now, call Wait and try again; *CorruptError, *UnreadableError, *MissingError:
// entries are missing, the next call continues after them; *ForeignError: a file was
// skipped; *IncompatibleError: the next call continues with the next segment; the error of
// ctx; others: reading failed, the next call tries again.
func (r *Reader) Next(ctx context.Context) (*Chunk, error) {
	r.backward.close()
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

// crashJump is the distance by which sequences jump over those that may be missing after a
// crash of the machine.
const crashJump = 1 << 32

// pass skips the unreadable segment r.first and adds the missing entries to the error. Later
// calls try the newest segment again.
func (r *Reader) pass(e *UnreadableError) error {
	first := r.first
	r.close()
	list, err := r.list()
	if err != nil {
		return err
	}
	i, found := slices.BinarySearch(list, first)
	if r.next == 0 || r.next+crashJump <= first {
		r.next = first
	}
	if i == 0 && r.next < first {
		// Enter it again after this is reported.
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
			return e // a later segment shows how many are missing
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

// seekNext moves to r.next by the index of a sealed segment, or by halving another one. It skips
// the whole segment if the index shows that the query excludes it.
func (r *Reader) seekNext() error {
	x, sealed, err := r.segment.Index()
	if err != nil && !isPlaced(err) {
		return err
	}
	if err != nil || !sealed || x.StoreID != r.store {
		return r.seekNear()
	}
	if !r.opts.Query.matchesIndex(x) && x.LastSequence >= r.next {
		missing := r.missing(x.Sequence, 0)
		r.next = x.LastSequence + 1
		r.close()
		return missing
	}
	places := make([]segment.Place, len(x.Records))
	for i, record := range x.Records {
		places[i] = segment.Place{Offset: record.Offset, Sequence: record.Sequence}
	}
	r.seekPlace(places)
	return nil
}

// seekNear moves near r.next in a segment without an index, if that is not near its beginning.
func (r *Reader) seekNear() error {
	if r.next <= r.first {
		return nil
	}
	size, err := r.segment.Size()
	if err != nil {
		return err
	}
	places, err := r.segment.Before(size, r.store)
	if err != nil || len(places) == 0 {
		return err
	}
	if places[0].Sequence > r.next {
		at, ok, _, err := r.segment.Locate(r.next, r.store, places[0].Offset)
		if err != nil || !ok {
			return err
		}
		places = []segment.Place{at}
	}
	r.seekPlace(places)
	return nil
}

// seekPlace moves to the last of the places that is not after r.next, if it has the chunk given
// there.
func (r *Reader) seekPlace(places []segment.Place) {
	i := sort.Search(len(places), func(i int) bool { return places[i].Sequence > r.next }) - 1
	if i < 0 {
		return
	}
	var h frame.Header
	if err := r.segment.Header(places[i].Offset, &h); err == nil && h.Sequence == places[i].Sequence && h.StoreID == r.store {
		r.offset = places[i].Offset
	}
}

// missing returns an error if sequences between r.next and have were removed. before is the
// sequence before a jump, 0 for none.
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

// step processes the chunk at r.offset: it returns the chunk, or skips it and returns nil.
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
		return nil, errFound
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

// holds reports whether the file has at least end bytes.
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

// stop handles a failure to read a chunk at r.offset. In the newest segment, the chunk may
// still be in the process of being written.
func (r *Reader) stop(ctx context.Context, err error) error {
	corrupt, isCorrupt := segment.AsCorrupt(err)
	if err != io.EOF && !isPlaced(err) {
		return err
	}
	if err != io.EOF && !isCorrupt {
		r.close()
		return err
	}
	finished, listErr := r.finished()
	if listErr != nil {
		return listErr
	}
	if finished {
		// The writer may have appended before it started the later segment.
		if changed, err := r.changed(); changed || err != nil {
			return err
		}
	}
	if isCorrupt {
		at, err := r.segment.Search(ctx, r.offset+1, r.trusted)
		if err == nil {
			// A chunk before a later chunk is completely written, possibly since the last
			// check.
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
	r.close()
	if err == io.EOF {
		return nil
	}
	return err
}

// whole reports whether there is a whole chunk at r.offset now.
func (r *Reader) whole() bool {
	r.segment.Forget()
	var h frame.Header
	if r.segment.Header(r.offset, &h) != nil {
		return false
	}
	whole, err := r.holds(r.offset + h.ChunkSize())
	return whole && err == nil
}

// count adds the missing entries, as shown by the start of the next segment, to the error
// about the end of a segment.
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

// trusted reports whether a chunk found after damage is trusted.
func (r *Reader) trusted(h *frame.Header) bool {
	return (r.store == [16]byte{} || h.StoreID == r.store) && h.LastSequence() >= r.next
}

// skip continues at a later chunk and adds the missing entries to the error.
func (r *Reader) skip(corrupt *CorruptError, at int64) error {
	var h frame.Header
	if err := r.segment.Header(at, &h); err != nil {
		return err
	}
	corrupt.Skipped = at - r.offset
	if r.next != 0 && h.Sequence > r.next {
		corrupt.From, corrupt.To = r.next, h.Sequence-1
	}
	r.offset, r.next = at, max(r.next, h.Sequence)
	return corrupt
}

// changed reports whether the file has grown since the last check. If so, it drops the data
// read ahead.
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

// isPlaced reports whether err is about the bytes at an offset of a file.
func isPlaced(err error) bool {
	_, corrupt := segment.AsCorrupt(err)
	var incompatible *IncompatibleError
	return corrupt || errors.As(err, &incompatible)
}
