// SPDX-License-Identifier: Apache-2.0

package segment

import (
	"context"
	"io"
	"slices"

	"crypto-auditing/src/internal/logstore/frame"
)

// Last finds the last whole chunk: its header and the CRC of its payload are correct, and it
// belongs to the given store (zero: any). It examines everything before, so that the result
// does not depend on the end of the file. ok is false if there is none. A chunk of a newer
// version is an *IncompatibleError.
func (s *Segment) Last(ctx context.Context, store [16]byte) (last frame.Header, ok bool, err error) {
	if x, sealed, err := s.Index(); err == nil && sealed {
		last := x.Records[len(x.Records)-1]
		if h, ok, _ := s.wholeAt(last.Offset, store); ok && h.LastSequence() == x.LastSequence {
			return h, true, nil
		}
	}
	s.Sequential(true)
	defer s.Sequential(false)
	walker := s.Walk()
	walker.Store, walker.Payloads = store, true
	var h frame.Header
	for {
		_, err := walker.Next(ctx, &h)
		if err == io.EOF {
			return last, ok, nil
		}
		if _, corrupt := AsCorrupt(err); corrupt {
			continue
		}
		if err != nil {
			return last, ok, err
		}
		last, ok = h, true
		last.Filter = frame.Filter{}
	}
}

// wholeAt returns the header of the chunk at offset if the chunk is whole and belongs to the
// store. The error is a read error.
func (s *Segment) wholeAt(offset int64, store [16]byte) (h frame.Header, ok bool, err error) {
	err = s.Header(offset, &h)
	h.Filter = frame.Filter{}
	if err == nil {
		_, err = s.Payload(offset, &h)
	}
	if err != nil && !isPlaced(err) {
		return h, false, err
	}
	return h, err == nil && (store == [16]byte{} || h.StoreID == store), nil
}

// Newest finds the last whole chunk of a store like Last, but from the end of the file: it is
// fast and ignores the contents before.
func (s *Segment) Newest(store [16]byte) (h frame.Header, ok bool, err error) {
	end, err := s.Size()
	for err == nil && end > 0 {
		var places []Place
		if places, err = s.Before(end, store); err != nil || len(places) == 0 {
			break
		}
		for _, place := range slices.Backward(places) {
			if h, ok, err = s.wholeAt(place.Offset, store); ok || err != nil {
				return h, ok, err
			}
		}
		end = places[0].Offset
	}
	return frame.Header{}, false, err
}

// Place is the offset and the first sequence of a chunk.
type Place struct {
	Offset   int64
	Sequence uint64
}

// farthestBack is the maximum distance to search backwards for the header of a chunk: the
// largest chunk and some damage.
const farthestBack = 4 * (frame.MaxHeader + frame.MaxCompressed)

// Before returns, in order, places of chunks that begin before end: all chunks from the first
// of them on. It reads backwards, so its cost does not depend on the length of the file. It
// returns none at the beginning of the file, or if there is no trustworthy header within
// farthestBack bytes. Only headers with the id of the store are trusted, because otherwise
// bytes in a payload could look like a header.
func (s *Segment) Before(end int64, store [16]byte) ([]Place, error) {
	if end <= 0 {
		return nil, nil
	}
	var h frame.Header
	for length := int64(scanRead); ; length *= 4 {
		from := max(end-length, 0)
		b := make([]byte, end-from)
		n, err := s.file.ReadAt(b, from)
		if err != nil && err != io.EOF {
			return nil, unreadable(s.path, from, err)
		}
		b = b[:n]
		var places []Place
		for done := 0; ; {
			at := frame.FindHeader(b[done:])
			if at < 0 {
				break
			}
			done += at
			err := s.Header(from+int64(done), &h)
			if err == nil && h.StoreID == store {
				places = append(places, Place{Offset: from + int64(done), Sequence: h.Sequence})
			} else if err != nil && !isPlaced(err) {
				return nil, err
			}
			done++
		}
		if len(places) > 0 || from == 0 || length >= farthestBack {
			return places, nil
		}
	}
}
