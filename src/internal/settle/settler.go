// SPDX-License-Identifier: Apache-2.0

// Package settle decides when an operation is complete: a Settler while a long log is shown, a
// Clock where each operation must be complete at the same entry for all readers.
package settle

import (
	"math"
	"slices"
	"time"

	"crypto-auditing/src/internal/schema"
)

// A tree is complete if it has had no event for settleMost entries, or for settleFew
// entries and settleTime. The output of a long log thus begins at once.
const (
	settleBlock = 4096
	settleFew   = 4 * settleBlock
	settleMost  = 16 * settleBlock
	settleTime  = 10 * time.Second
)

// Settler determines from the entries of a log which trees of a builder are complete.
// The zero value is ready to use. It must be used by one goroutine only.
type Settler struct {
	// earliest are the earliest times of the latest blocks of entries, the newest
	// block last; n counts the entries of the newest.
	earliest []int64
	n        int
}

// See records the time of an entry that was added to the builder, in nanoseconds since
// the Unix epoch, and completes trees.
func (s *Settler) See(at int64, builder *schema.Builder) {
	if s.n == 0 {
		s.earliest = append(s.earliest, math.MaxInt64)
	}
	newest := &s.earliest[len(s.earliest)-1]
	*newest = min(*newest, at)
	if s.n++; s.n < settleBlock {
		return
	}
	s.n = 0
	// A tree with an event in these entries is not older than all of them.
	before := int64(math.MinInt64)
	if few := settleFew / settleBlock; len(s.earliest) >= few {
		before = min(slices.Min(s.earliest[len(s.earliest)-few:]), at-int64(settleTime))
	}
	if len(s.earliest) >= settleMost/settleBlock {
		before = max(before, slices.Min(s.earliest))
		s.earliest = slices.Delete(s.earliest, 0, 1)
	}
	builder.Flush(before)
}

// Quiet is how long nothing must have happened in a tree before it counts as complete in a log
// that grows: longer than the agent gathers events and most handshakes pause.
const Quiet = 2 * time.Second
