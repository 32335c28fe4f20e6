// SPDX-License-Identifier: Apache-2.0

package segment

import (
	"io"

	"crypto-auditing/src/internal/logstore/frame"
)

// Bounds is what a segment holds as a whole.
type Bounds struct {
	// Last is the last sequence.
	Last uint64
	// FirstTime and LastTime are in nanoseconds since boot, Offset leads to
	// real time.
	FirstTime, LastTime uint64
	Offset              int64
}

// Bounds returns what the segment holds, from its index or else from its
// headers as far as they can be read. ok is false if none can.
func (s *Segment) Bounds() (b Bounds, ok bool, err error) {
	x, sealed, err := s.Index()
	if err == nil && sealed {
		return Bounds{Last: x.LastSequence, FirstTime: x.First, LastTime: x.Last, Offset: x.Offset}, true, nil
	}
	if err != nil && !isPlaced(err) {
		return b, false, err
	}
	var h frame.Header
	trust := func(h *frame.Header) bool { return !ok || h.Sequence > b.Last }
	for offset := int64(0); ; {
		err := s.Header(offset, &h)
		switch {
		case err == io.EOF:
			return b, ok, nil
		case err == nil && trust(&h):
			if !ok {
				b.FirstTime = h.First
			}
			b.FirstTime, b.LastTime = min(b.FirstTime, h.First), max(b.LastTime, h.Last)
			b.Last, b.Offset, ok = h.LastSequence(), h.Offset, true
			offset += h.ChunkSize()
		case err != nil && !isPlaced(err):
			return b, ok, err
		default:
			if offset, err = s.Search(offset+1, trust); err == io.EOF {
				return b, ok, nil
			} else if err != nil {
				return b, ok, err
			}
		}
	}
}
