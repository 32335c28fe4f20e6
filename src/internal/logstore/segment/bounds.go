// SPDX-License-Identifier: Apache-2.0

package segment

import (
	"context"
	"io"

	"crypto-auditing/src/internal/logstore/frame"
)

// Bounds are the bounds of a segment.
type Bounds struct {
	// First and Last are the first and last sequence.
	First, Last uint64
	// FirstTime and LastTime are in nanoseconds since boot. Adding Offset gives real
	// time.
	FirstTime, LastTime uint64
	Offset              int64
}

// Bounds returns the bounds of the segment, from its index or else from its readable
// headers. ok is false if there are none.
func (s *Segment) Bounds(ctx context.Context) (b Bounds, ok bool, err error) {
	x, sealed, err := s.Index()
	if err == nil && sealed {
		return Bounds{
			First: x.Sequence, Last: x.LastSequence,
			FirstTime: x.First, LastTime: x.Last, Offset: x.Offset,
		}, true, nil
	}
	var h frame.Header
	for walker := s.Walk(); ; {
		_, err := walker.Next(ctx, &h)
		if err == io.EOF {
			return b, ok, nil
		}
		if _, corrupt := AsCorrupt(err); corrupt {
			continue
		}
		if err != nil {
			return b, ok, err
		}
		if !ok {
			b = Bounds{First: h.Sequence, FirstTime: h.First, Offset: h.Offset}
			ok = true
		}
		b.FirstTime, b.LastTime = min(b.FirstTime, h.First), max(b.LastTime, h.Last)
		b.Last = h.LastSequence()
	}
}
