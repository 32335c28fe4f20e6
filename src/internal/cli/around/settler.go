// SPDX-License-Identifier: Apache-2.0

package around

import (
	"math"
	"slices"
	"time"

	"crypto-auditing/src/internal/schema"
)

// A tree is complete if nothing has happened in it for settleMost entries, or for
// settleFew of them and settleTime: what is shown of a long log begins at once.
const (
	settleBlock = 4096
	settleFew   = 4 * settleBlock
	settleMost  = 16 * settleBlock
	settleTime  = 10 * time.Second
)

// Settler finds out which trees of a builder are complete, from the entries of a log.
// The zero value has seen nothing. It is for one goroutine.
type Settler struct {
	// earliest are the earliest times of entries in the blocks that were read last,
	// the newest last; n counts the entries of the newest.
	earliest []int64
	n        int
}

// See notes the time of an entry, in nanoseconds since the Unix epoch, that was
// given to the builder, and completes trees.
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
	// A tree with an event among some entries is not older than all of them.
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
