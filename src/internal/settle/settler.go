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

// Settler determines from the entries of a log which trees of a builder are complete. It depends
// only on the entries, not on when they are read. The zero value is ready to use. It must be used
// by one goroutine only. Its fields are exported for encoding only: the inventory stores them, so
// that counting continues after a restart.
type Settler struct {
	_ struct{} `cbor:",toarray"`
	// Earliest are the earliest times of the latest blocks of entries, the newest block last,
	// in nanoseconds since the Unix epoch; Entries counts the entries of the newest.
	Earliest []int64
	Entries  int
}

// Observe records the time of an entry that was added to the builder, in nanoseconds since
// the Unix epoch, and completes trees.
func (s *Settler) Observe(at int64, builder *schema.Builder) {
	if s.Entries == 0 {
		s.Earliest = append(s.Earliest, math.MaxInt64)
	}
	newest := &s.Earliest[len(s.Earliest)-1]
	*newest = min(*newest, at)
	if s.Entries++; s.Entries < settleBlock {
		return
	}
	s.Entries = 0
	// A tree with an event in these entries is not older than all of them.
	before := int64(math.MinInt64)
	if blocks := settleFew / settleBlock; len(s.Earliest) >= blocks {
		before = min(slices.Min(s.Earliest[len(s.Earliest)-blocks:]), at-int64(settleTime))
	}
	if len(s.Earliest) >= settleMost/settleBlock {
		before = max(before, slices.Min(s.Earliest))
		s.Earliest = slices.Delete(s.Earliest, 0, 1)
	}
	builder.Flush(before)
}

// Quiet is the time without an event after which a tree counts as complete in a growing log. It is
// longer than the agent gathers events and most handshakes pause.
const Quiet = 2 * time.Second
