// SPDX-License-Identifier: Apache-2.0

package window

import (
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/loss"
)

// Batch is a flushed window. Hits and Events count those of the probes; Lost counts the
// events recorded as lost in this batch.
type Batch struct {
	logstore.Batch
	// Starts are the start times of the groups.
	Starts []uint64
	// Losses and Unrecorded are the losses that the batch records.
	Losses     []loss.Notice
	Unrecorded []loss.Unrecorded
	// Then holds calls that the sink makes, in order, when it has taken the batch and
	// all earlier ones. A batch with calls may be empty.
	Then []func()
}

// Reset empties the batch and keeps its memory.
func (b *Batch) Reset() {
	clear(b.Then)
	*b = Batch{
		Batch:  logstore.Batch{Entries: b.Entries[:0], Ends: b.Ends[:0], Terms: b.Terms[:0], Values: b.Values[:0]},
		Starts: b.Starts[:0], Losses: b.Losses[:0], Unrecorded: b.Unrecorded[:0], Then: b.Then[:0],
	}
}

// Empty reports whether the batch has no entry.
func (b *Batch) Empty() bool { return len(b.Ends) == 0 }

// span extends the time span of the batch.
func (b *Batch) span(start, end uint64) {
	if b.First == 0 || start < b.First {
		b.First = start
	}
	b.Last = max(b.Last, end)
}

// Lose adds notices of the losses that are not recorded yet.
func (b *Batch) Lose(l *loss.Counters, now uint64) {
	b.Losses, b.Unrecorded = l.Take(now, b.Losses, b.Unrecorded)
	for i := range b.Losses {
		n := &b.Losses[i]
		b.Entries = event.AppendLoss(b.Entries, &event.Loss{
			Events: n.Events, Hits: n.Hits, Reason: string(n.Reason), Place: n.Reason.Place(), Start: n.Since, End: now,
		})
		b.Lost += n.Events
		b.EndNotice(n.Since, now)
	}
	for i := range b.Unrecorded {
		u := &b.Unrecorded[i]
		b.Entries = event.AppendLibraryUnrecorded(b.Entries, u.Reason, u.Library, u.BuildID, u.Start, u.End)
		b.EndNotice(u.Start, u.End)
	}
}

// EndNotice ends a notice that was just appended to Entries.
func (b *Batch) EndNotice(start, end uint64) {
	b.End()
	b.Notice = true
	b.span(start, end)
}
