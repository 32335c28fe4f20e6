// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"math"
	"time"

	"crypto-auditing/src/internal/cli/render"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/schema"
)

// removals collects the notices of removals, as far as they are about the
// entries before the oldest one. The zero value has none.
type removals struct {
	known bool
	last  event.Removal // the one with the greatest Last
	boot  int64
}

// add takes a notice; boot is the time of boot to which its time is relative.
func (r *removals) add(removal event.Removal, boot int64) {
	if !r.known || removal.Last >= r.last.Last {
		r.known, r.last, r.boot = true, removal, boot
	}
}

// sequenceJump is by how much the sequences of a log jump, at least, after a
// crash of the machine (docs/log-format.md).
const sequenceJump = 1 << 32

// cover reports whether the removal of all entries up to one is on record.
func (r *removals) cover(last uint64) bool {
	return r.known && (r.last.Last >= last || last-r.last.Last >= sequenceJump)
}

// sentence returns what became of the entries up to one, which are not in the
// log.
func (r *removals) sentence(last uint64, location *time.Location) string {
	const noRecord = ", and no record of their removal exists"
	if !r.known {
		return render.Entries(1, last, "is missing", "are missing") + noRecord
	}
	removed := render.Entries(1, min(last, r.last.Last), "was removed", "were removed") +
		" (" + render.RemovedBy(&r.last, schema.WallTime(r.boot, r.last.Time), location) + ")"
	if r.cover(last) {
		return removed
	}
	return removed + "; " + render.Entries(r.last.Last+1, last, "is missing", "are missing") + noRecord
}

// removed returns what to say of the entries before the oldest one of a log, of
// which v has shown what was selected: nothing if they were not asked for.
func (q *query) removed(src store, v *viewer) (notes []string, err error) {
	newest, oldest, err := src.ends()
	switch {
	case err != nil:
		return nil, err
	case newest.Store == [16]byte{}:
		return []string{"the log is empty"}, nil
	case oldest.Sequence == 0, q.lines >= 0 && v.shown >= q.lines && !q.follow:
		return nil, nil
	}
	if q.selection.since != math.MinInt64 {
		start, ok, err := src.start()
		if err != nil || !ok || start <= q.selection.since {
			return nil, err
		}
	}
	return []string{v.removals.sentence(oldest.Sequence, q.environment.Location)}, nil
}
