// SPDX-License-Identifier: Apache-2.0

package reader

import (
	"math"

	"crypto-auditing/src/internal/logstore/frame"
)

// Query says which chunks a Reader may leave out. What it returns may hold
// entries that do not match; what matches is never left out.
type Query struct {
	// Since and Until are real times in nanoseconds since the Unix epoch;
	// zero is no bound. A chunk matches if some of its time is in between; one
	// with notices also if it is later.
	Since, Until int64
	// Terms: a chunk matches if it may hold a term of every set.
	Terms [][]frame.Term
}

// NoticesOnly matches the chunks that hold notices, and no others.
func NoticesOnly() Query { return Query{Terms: [][]frame.Term{nil}} }

// matches decides from a header.
func (q *Query) matches(h *frame.Header) bool {
	notice := h.Flags&frame.Notice != 0
	return q.inTime(h.First, h.Last, h.Offset, notice) && (notice || h.Filter.Matches(q.Terms))
}

// matchesIndex decides for a whole segment.
func (q *Query) matchesIndex(x *frame.Index) bool {
	notice := x.Flags&frame.Notice != 0
	return q.inTime(x.First, x.Last, x.Offset, notice) && (notice || x.Filter.Matches(q.Terms))
}

// inTime decides by time. A notice can be about an earlier time: that recording
// was interrupted is written down when it goes on. An entry at no real time, out
// of range, can be shown at any.
func (q *Query) inTime(first, last uint64, offset int64, notice bool) bool {
	end := frame.RealTime(last, offset)
	return (q.Since == 0 || end >= q.Since) &&
		(q.Until == 0 || notice || end == math.MaxInt64 || frame.RealTime(first, offset) <= q.Until)
}

func (q *Query) everything() bool { return q.Since == 0 && q.Until == 0 && len(q.Terms) == 0 }
