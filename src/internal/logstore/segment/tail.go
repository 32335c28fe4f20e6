// SPDX-License-Identifier: Apache-2.0

package segment

import (
	"io"

	"crypto-auditing/src/internal/logstore/frame"
)

// Tail is how a segment ends.
type Tail struct {
	// Header and Offset are those of the last whole chunk.
	Header frame.Header
	Offset int64
	// End is where that chunk ends, Size where the file ends: what lies
	// between is a torn tail.
	End, Size int64
	// Damaged counts places before End that could not be trusted.
	Damaged int
	// Sealed says that the segment ends with an index.
	Sealed bool
}

// Tail finds the last whole chunk: its header and the CRC of its payload are
// right. ok is false if there is none. A zero store trusts the id that the
// first header has. Chunks of a newer version are an *IncompatibleError.
func (s *Segment) Tail(store [16]byte) (tail Tail, ok bool, err error) {
	if tail.Size, err = s.Size(); err != nil {
		return tail, false, err
	}
	if x, sealed, err := s.Index(); err == nil && sealed {
		if tail, ok := s.sealedTail(x, store, tail.Size); ok {
			return tail, true, nil
		}
	}
	s.Sequential(true)
	defer s.Sequential(false)
	var h frame.Header
	trust := func(h *frame.Header) bool {
		return (store == [16]byte{} || h.StoreID == store) && (!ok || h.Sequence > tail.Header.LastSequence())
	}
	for offset := int64(0); ; {
		err := s.whole(offset, &h)
		if err == io.EOF {
			tail.Sealed = offset != tail.Size
			return tail, ok, nil
		}
		if err == nil && trust(&h) {
			h.Filter = frame.Filter{}
			store = h.StoreID
			tail.Header, tail.Offset, tail.End = h, offset, offset+h.ChunkSize()
			ok = true
			offset = tail.End
			continue
		}
		if _, corrupt := AsCorrupt(err); err != nil && !corrupt {
			return tail, ok, err
		}
		if offset, err = s.Search(offset+1, trust); err == io.EOF {
			return tail, ok, nil
		} else if err != nil {
			return tail, ok, err
		}
		tail.Damaged++
	}
}

// whole reads the header at offset and checks the payload behind it.
func (s *Segment) whole(offset int64, h *frame.Header) error {
	if err := s.Header(offset, h); err != nil {
		return err
	}
	_, err := s.Payload(offset, h)
	return err
}

// sealedTail takes the last chunk from the index, and only believes it if it
// is whole.
func (s *Segment) sealedTail(x *frame.Index, store [16]byte, size int64) (Tail, bool) {
	last := x.Records[len(x.Records)-1]
	t := Tail{Offset: last.Offset, Size: size, End: size, Sealed: true}
	if err := s.whole(last.Offset, &t.Header); err != nil {
		return Tail{}, false
	}
	t.Header.Filter = frame.Filter{}
	if store != [16]byte{} && t.Header.StoreID != store || t.Header.LastSequence() != x.LastSequence {
		return Tail{}, false
	}
	return t, true
}
