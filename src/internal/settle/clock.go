// SPDX-License-Identifier: Apache-2.0

package settle

import (
	"time"

	"crypto-auditing/src/internal/event"
)

const (
	// tick is the resolution of a Clock, in nanoseconds.
	tick = 1 << 23
	// quietTicks is the number of ticks that take at least Quiet, wherever in a tick it
	// begins.
	quietTicks = uint64(Quiet)/tick + 2
	// quietEntries is the number of entries after which a tree without an event among
	// them is complete, however little time they took. It bounds the memory of
	// incomplete trees.
	quietEntries = 8 * settleBlock
	// backwards bounds how far the times of a boot may go back, because processors and
	// coalescing reorder entries; steps of the clock are longer.
	backwards = 10 * time.Second
	// delay bounds how late the agent appends an entry.
	delay = 500 * time.Millisecond
)

// Clock measures the time that passes in a log by its entries, and determines by it which trees
// are complete. The result depends only on the latest entries: it is the same wherever reading
// began. The zero value is ready to use. It must be used by one goroutine only.
type Clock struct {
	// now is the latest time of an entry: nanoseconds since the boot plus offset, which
	// continues the time of the previous boot. wall is the same as nanoseconds since the
	// Unix epoch.
	now, offset uint64
	wall, boot  int64
	// runs are the entries of the latest ticks; before is the last one before them.
	runs   []run
	before uint64
}

// run is a tick in which the log has entries, with the number of the last one.
type run struct{ tick, last uint64 }

// Observe adds an entry: its number, its end in nanoseconds since a boot, and that boot in nanoseconds
// since the Unix epoch. It returns the number of an entry: trees without an event after it are
// complete.
func (c *Clock) Observe(sequence, end uint64, boot int64) (until uint64) {
	at := end + c.offset
	stepped := max(boot, c.boot)-min(boot, c.boot) > int64(backwards)
	c.boot = boot
	switch {
	case end>>62 != 0: // not a time
		at = c.now
	case at+uint64(backwards) < c.now, at < c.now && stepped:
		// The next boot. The offset grows by whole ticks, so that ticks end at the same
		// entries wherever reading began.
		c.offset += (c.now - at + tick - 1) / tick * tick
		at = end + c.offset
	}
	if at >= c.now || stepped {
		c.now, c.wall = max(c.now, at), event.WallTime(boot, end)
	}
	now := c.now / tick
	if n := len(c.runs); n > 0 && c.runs[n-1].tick == now {
		c.runs[n-1].last = sequence
	} else {
		c.runs = append(c.runs, run{now, sequence})
	}
	old := 0
	for ; old < len(c.runs) && c.runs[old].tick+quietTicks <= now; old++ {
		c.before = c.runs[old].last
	}
	c.runs = c.runs[:copy(c.runs, c.runs[old:])]
	until = c.before
	if sequence > quietEntries {
		until = max(until, sequence-quietEntries)
	}
	return until
}

// End returns the same at the end of the log, at a time in nanoseconds since the Unix epoch.
func (c *Clock) End(wall int64) (until uint64) {
	now := c.now
	if passed := wall - c.wall - int64(delay); passed > 0 {
		now += uint64(passed)
	}
	until = c.before
	for _, r := range c.runs {
		if r.tick+quietTicks <= now/tick {
			until = r.last
		}
	}
	return until
}

// Due returns how long after a time, in nanoseconds since the Unix epoch, End reaches an entry.
func (c *Clock) Due(sequence uint64, wall int64) time.Duration {
	for _, r := range c.runs {
		if r.last >= sequence {
			passes := (r.tick+quietTicks)*tick - c.now
			return time.Duration(c.wall+int64(passes)-wall) + delay
		}
	}
	return 0
}
