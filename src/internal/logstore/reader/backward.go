// SPDX-License-Identifier: Apache-2.0

package reader

import (
	"errors"
	"io"
	"io/fs"
	"slices"

	"crypto-auditing/src/internal/logstore/frame"
	"crypto-auditing/src/internal/logstore/segment"
)

// backward is the position of reading backwards. The zero value means no position yet.
type backward struct {
	segment *segment.Segment
	// first is the number in the name of the segment. It is kept after the segment.
	first uint64
	// places are the unvisited chunks before end. The bytes before the first of them have
	// not been searched.
	places []segment.Place
	end    int64
	// limit is the offset of the chunk visited last, or the end of the file.
	limit int64
	// newest is set if there is no later segment, so that a torn end is not damage.
	newest bool
}

func (b *backward) close() {
	if b.segment != nil {
		_ = b.segment.Close()
	}
	*b = backward{}
}

// Previous returns the chunk before the position of the Reader and moves the Reader before
// it, so that Next would return the same chunk. It skips chunks that the query excludes.
// Errors are as in Next; io.EOF means the beginning.
func (r *Reader) Previous() (*Chunk, error) {
	if r.segment != nil || r.first != 0 {
		r.close()
		r.first = 0
	}
	for {
		var chunk *Chunk
		var err error
		if len(r.backward.places) == 0 {
			err = r.searchBack()
		} else {
			chunk, err = r.stepBack()
		}
		if unreadable, ok := segment.AsUnreadable(err); ok {
			r.passBack(unreadable)
		}
		if chunk != nil || err != nil {
			return chunk, err
		}
	}
}

// passBack skips the unreadable segment r.back.first and continues with the one before it.
func (r *Reader) passBack(e *UnreadableError) {
	first := r.backward.first
	r.backward.close()
	r.backward.first = first
	if first < r.next {
		e.From, e.To = first, r.next-1
		r.next = first
	}
}

// searchBack searches for more chunks.
func (r *Reader) searchBack() error {
	b := &r.backward
	if b.segment == nil {
		return r.enterBack()
	}
	if b.end > 0 {
		places, err := b.segment.Before(b.end, r.store)
		if err != nil {
			return err
		}
		b.places = places
		if len(places) > 0 {
			b.end = places[0].Offset
			return nil
		}
		b.end = 0
	}
	var damage error
	if b.limit > 0 {
		damage = r.damageBack(0)
	}
	_ = b.segment.Close()
	*b = backward{first: b.first}
	return damage
}

// enterBack opens the previous segment.
func (r *Reader) enterBack() error {
	b := &r.backward
	list, err := r.list()
	if err != nil {
		return err
	}
	below := r.next
	if b.first != 0 {
		below = min(below, b.first)
	}
	i, _ := slices.BinarySearch(list, below)
	if i == 0 {
		return io.EOF
	}
	first := list[i-1]
	s, err := segment.Open(r.path(first))
	if errors.Is(err, fs.ErrNotExist) {
		return io.EOF // removed, like all before it
	}
	b.first = first
	if err != nil {
		return err
	}
	size, err := s.Size()
	if err != nil {
		_ = s.Close()
		return err
	}
	*b = backward{segment: s, first: first, end: size, limit: size, newest: i == len(list) && r.single == ""}
	x, sealed, err := s.Index()
	if err != nil && !isPlaced(err) {
		return err
	}
	if err != nil || !sealed || x.StoreID != r.store {
		return r.beginBack()
	}
	b.limit, b.end = 0, 0
	if !r.opts.Query.matchesIndex(x) {
		r.next = min(r.next, x.Sequence)
		return nil
	}
	for _, record := range x.Records {
		if record.Sequence < r.next {
			b.places = append(b.places, segment.Place{Offset: record.Offset, Sequence: record.Sequence})
		}
	}
	return nil
}

// beginBack skips the end of a segment without an index, if it is after the position.
func (r *Reader) beginBack() error {
	b := &r.backward
	places, err := b.segment.Before(b.end, r.store)
	if err != nil || len(places) == 0 {
		return err
	}
	if places[0].Sequence < r.next {
		b.places, b.end = places, places[0].Offset
		return nil
	}
	_, _, after, err := b.segment.Locate(r.next-1, r.store, places[0].Offset)
	b.end, b.limit, b.newest = after, after, false
	return err
}

// damageBack reports that the bytes from offset to the chunk visited last are not a chunk.
func (r *Reader) damageBack(offset int64) error {
	b := &r.backward
	e := &CorruptError{
		Segment: b.segment.Path(), Offset: offset, Skipped: b.limit - offset,
		Kind: frame.KindHeader, Detail: "no chunk can be trusted here",
	}
	b.limit = offset
	return e
}

// stepBack visits the last of the places.
func (r *Reader) stepBack() (*Chunk, error) {
	b, h := &r.backward, &r.chunk.Header
	place := b.places[len(b.places)-1]
	if err := b.segment.Header(place.Offset, h); err != nil {
		b.places = b.places[:len(b.places)-1]
		return nil, err
	}
	end := place.Offset + h.ChunkSize()
	torn := end > b.limit && b.limit != 0
	if end < b.limit && !b.newest {
		return nil, r.damageBack(end)
	}
	b.places = b.places[:len(b.places)-1]
	b.limit = place.Offset
	if h.Sequence >= r.next {
		return nil, nil
	}
	if torn {
		if b.newest {
			return nil, nil
		}
		return nil, &CorruptError{Segment: b.segment.Path(), Offset: place.Offset, Kind: frame.KindTorn, Detail: "the file ends inside a chunk"}
	}
	b.newest = false
	if !r.opts.Query.matches(h) {
		r.next = h.Sequence
		return nil, nil
	}
	entries, err := b.segment.Entries(r.entries, r.decoder, place.Offset, h)
	if err != nil {
		r.next = h.Sequence
		return nil, err
	}
	r.entries = entries
	c := &r.chunk
	c.set(b.segment.Path(), place.Offset, entries, r.opts.EntryLen)
	cut := r.next
	r.next = h.Sequence
	if cut <= c.Last {
		if err := c.cutAt(cut); err != nil {
			return nil, err
		}
	}
	return c, nil
}
