// SPDX-License-Identifier: Apache-2.0

// Package loss counts, by reason, the events that could not be recorded, and keeps the losses
// that the log does not report yet.
package loss

import (
	"sync"

	"crypto-auditing/src/internal/event"
)

// Loss is the total loss for one reason since the agent started. Hits counts probe hits, Events
// the events that they would have added to the log: one for a new context and one for each
// value.
type Loss struct {
	Reason       Reason
	Hits, Events uint64
}

// Count is a number of lost hits and events.
type Count struct{ Hits, Events uint64 }

// Add adds n to the count.
func (c *Count) Add(n Count) { c.Hits += n.Hits; c.Events += n.Events }

// Notice is the report of losses for one reason in the log.
type Notice struct {
	Reason Reason
	Count
	// Since is the earliest time of the first loss, in nanoseconds since boot.
	Since uint64
}

// Unrecorded is a period in which a library was not recorded, in nanoseconds since boot.
type Unrecorded struct {
	Reason     event.UnrecordedReason
	Library    string // base name
	BuildID    []byte
	Start, End uint64
}

// maxUnrecorded is the number of pending periods above which those of one library are
// joined.
const maxUnrecorded = 256

// Counters count losses and keep track of those that are not in the log yet. It is safe for
// concurrent use. The zero value is usable.
type Counters struct {
	mu    sync.Mutex
	count []counted
	// unrecorded has the periods that are not in the log yet.
	unrecorded []Unrecorded
}

type counted struct {
	Loss
	// recorded counts the losses that the log reports.
	recorded Count
	// since is the earliest time of the first loss not in the log.
	since uint64
}

func (c *counted) unrecorded() Count {
	return Count{c.Hits - c.recorded.Hits, c.Events - c.recorded.Events}
}

// Add counts a loss that happened between since and now.
func (l *Counters) Add(r Reason, n Count, since uint64) {
	if n == (Count{}) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.get(r)
	if c.since == 0 {
		c.since = since
	}
	c.Hits += n.Hits
	c.Events += n.Events
}

// AddRecorded counts a loss that the log already reports.
func (l *Counters) AddRecorded(r Reason, n Count) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.get(r)
	c.Hits += n.Hits
	c.Events += n.Events
	c.recorded.Add(n)
}

// Miss records that a library was not recorded for a period.
func (l *Counters) Miss(u Unrecorded) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.unrecorded) >= maxUnrecorded {
		for i := range l.unrecorded {
			if v := &l.unrecorded[i]; v.Library == u.Library && v.Reason == u.Reason {
				v.Start, v.End = min(v.Start, u.Start), max(v.End, u.End)
				return
			}
		}
	}
	l.unrecorded = append(l.unrecorded, u)
}

// Raise sets the total for a reason that is counted elsewhere. It reports whether the total
// has increased.
func (l *Counters) Raise(r Reason, total Count, since uint64) bool {
	l.mu.Lock()
	c := l.get(r)
	more := Count{total.Hits - c.Hits, total.Events - c.Events}
	l.mu.Unlock()
	l.Add(r, more, since)
	return more != Count{}
}

func (l *Counters) get(r Reason) *counted {
	for i := range l.count {
		if l.count[i].Reason == r {
			return &l.count[i]
		}
	}
	l.count = append(l.count, counted{Loss: Loss{Reason: r}})
	return &l.count[len(l.count)-1]
}

// Take appends everything that is not in the log yet to the arguments and counts it as
// recorded. The caller must write it to the log or pass it to Restore.
func (l *Counters) Take(now uint64, notices []Notice, unrecorded []Unrecorded) ([]Notice, []Unrecorded) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.count {
		c := &l.count[i]
		n := c.unrecorded()
		if n == (Count{}) {
			continue
		}
		notices = append(notices, Notice{c.Reason, n, min(c.since, now)})
		c.recorded.Add(n)
		c.since = 0
	}
	unrecorded = append(unrecorded, l.unrecorded...)
	l.unrecorded = l.unrecorded[:0]
	return notices, unrecorded
}

// Restore takes back results of Take that were not written to the log.
func (l *Counters) Restore(notices []Notice, unrecorded []Unrecorded) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range notices {
		c := l.get(n.Reason)
		c.recorded.Hits -= n.Hits
		c.recorded.Events -= n.Events
		if c.since == 0 || n.Since < c.since {
			c.since = n.Since
		}
	}
	l.unrecorded = append(l.unrecorded, unrecorded...)
}

// Pending reports whether there are losses that are not in the log yet.
func (l *Counters) Pending() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.count {
		if l.count[i].unrecorded() != (Count{}) {
			return true
		}
	}
	return len(l.unrecorded) > 0
}

// List returns the losses of all reasons.
func (l *Counters) List() []Loss {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]Loss, 0, len(l.count))
	for i := range l.count {
		all = append(all, l.count[i].Loss)
	}
	return all
}
