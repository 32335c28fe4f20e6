// SPDX-License-Identifier: Apache-2.0

package reader

import (
	"math"

	"crypto-auditing/src/internal/logstore/frame"
)

// Query selects the chunks that a Reader returns. They may have entries that do not match,
// but matching entries are never skipped.
type Query struct {
	// Since and Until are real times in nanoseconds since the Unix epoch; zero means no
	// bound. A chunk matches if its times overlap with the interval; a chunk with notices
	// also matches if it is later.
	Since, Until int64
	// Terms are sets of terms. A chunk matches if it may have a term of every set.
	Terms [][]frame.Term
}

// NoticesOnly returns a query for chunks with notices only.
func NoticesOnly() Query { return Query{Terms: [][]frame.Term{nil}} }

// matches decides about a chunk by its header.
func (q *Query) matches(h *frame.Header) bool {
	notice := h.Flags&frame.Notice != 0
	return q.inTime(h.First, h.Last, h.Offset, notice) && (notice || h.Filter.Matches(q.Terms))
}

// matchesIndex decides about a segment by its index.
func (q *Query) matchesIndex(x *frame.Index) bool {
	notice := x.Flags&frame.Notice != 0
	return q.inTime(x.First, x.Last, x.Offset, notice) && (notice || x.Filter.Matches(q.Terms))
}

// inTime decides by time. A notice may be about an earlier time: an interruption of recording
// is recorded only when recording resumes. An entry whose real time is out of range matches
// any time.
func (q *Query) inTime(first, last uint64, offset int64, notice bool) bool {
	end := frame.RealTime(last, offset)
	return (q.Since == 0 || end >= q.Since) &&
		(q.Until == 0 || notice || end == math.MaxInt64 || frame.RealTime(first, offset) <= q.Until)
}

func (q *Query) everything() bool { return q.Since == 0 && q.Until == 0 && len(q.Terms) == 0 }
