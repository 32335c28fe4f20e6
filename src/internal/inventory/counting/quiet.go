// SPDX-License-Identifier: Apache-2.0

package counting

import (
	"math"
	"time"
)

// quiet determines which trees are complete, by the rule of crauctl query: those without an event
// among the last 65,536 entries, or among the last 16,384 if also 10 s have passed. It depends only on
// the entries, not on when they are read. Its fields are exported for encoding.
type quiet struct {
	_ struct{} `cbor:",toarray"`
	// Blocks are the earliest times of the latest blocks of entries, newest last, in nanoseconds
	// since the Unix epoch; Entries counts those of the newest block.
	Blocks  []int64
	Entries int
}

const (
	quietBlock = 4096 // entries
	quietFew   = 4    // blocks
	quietMost  = 16   // blocks
	quietTime  = int64(10 * time.Second)
)

// see records the time of an entry. At the end of a block it returns the time before which complete
// trees had their last event.
func (q *quiet) see(at int64) (before int64, ok bool) {
	if q.Entries == 0 {
		q.Blocks = append(q.Blocks, at)
	}
	n := len(q.Blocks)
	q.Blocks[n-1] = min(q.Blocks[n-1], at)
	q.Entries = (q.Entries + 1) % quietBlock
	if q.Entries != 0 || n < quietFew {
		return math.MinInt64, false
	}
	// Times go back when the clock is set, so that a late block may be early.
	before = at - quietTime
	for _, earliest := range q.Blocks[n-quietFew:] {
		before = min(before, earliest)
	}
	if n < quietMost {
		return before, true
	}
	all := int64(math.MaxInt64)
	for _, earliest := range q.Blocks {
		all = min(all, earliest)
	}
	q.Blocks = append(q.Blocks[:0], q.Blocks[1:]...)
	return max(before, all), true
}
