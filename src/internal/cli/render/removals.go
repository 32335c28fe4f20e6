// SPDX-License-Identifier: Apache-2.0

package render

import (
	"time"

	"crypto-auditing/src/internal/event"
)

// Removals collects the notices of removals that concern the entries before the log's
// oldest one. The zero value has none.
type Removals struct {
	Known bool
	last  event.Removal // the removal with the greatest Last
	boot  int64
}

// Add adds a removal; boot is the boot time to which its time is relative.
func (r *Removals) Add(removed event.Removal, boot int64) {
	if !r.Known || removed.Last >= r.last.Last {
		r.Known, r.last, r.boot = true, removed, boot
	}
}

// sequenceJump is the smallest jump of the sequences of a log after a crash of the
// machine (docs/log-format.md).
const sequenceJump = 1 << 32

// Cover reports whether the removal of all entries up to last is on record.
func (r *Removals) Cover(last uint64) bool {
	return r.Known && (r.last.Last >= last || last-r.last.Last >= sequenceJump)
}

// Sentence describes the removal of the entries up to last, which are not in the log.
func (r *Removals) Sentence(last uint64, location *time.Location) string {
	const noRecord = ", and no record of their removal exists"
	if !r.Known {
		return Entries(1, last, "is missing", "are missing") + noRecord
	}
	removed := Entries(1, min(last, r.last.Last), "was removed", "were removed") +
		" (" + RemovedBy(&r.last, event.WallTime(r.boot, r.last.Time), location) + ")"
	if r.Cover(last) {
		return removed
	}
	return removed + "; " + Entries(r.last.Last+1, last, "is missing", "are missing") + noRecord
}
