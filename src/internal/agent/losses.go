// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"sync"

	"crypto-auditing/src/internal/attach"
	"crypto-auditing/src/internal/event"
)

// Reason says why events were lost, in the words of the log and the status.
type Reason string

// The reasons for losses.
const (
	// RingFull: the agent did not keep up.
	RingFull Reason = "ring-full"
	// SpecMissing is a site without an entry in the site map.
	SpecMissing Reason = "spec-missing"
	// RateLimit is a process that made more hits than one may.
	RateLimit Reason = "rate-limit"
	// Unreadable is memory of the process that could not be read: the
	// arguments of the probe (a hit), or an array or a key (events of a
	// recorded hit).
	Unreadable Reason = "unreadable"
	// Oversize are elements of an array behind the sixteen that a probe may
	// give (events of a recorded hit).
	Oversize Reason = "oversize"
	// Undecodable is a ring record that makes no sense.
	Undecodable Reason = "undecodable"
	// QueueFull is a batch that was dropped because the disk did not keep up.
	QueueFull Reason = "queue-full"
	// DiskFull is a batch that was dropped while the disk had no room.
	DiskFull Reason = "disk-full"
	// WriteFailed is a batch that the store refused for another reason.
	WriteFailed Reason = "write-failed"
	// SegmentDeleted are events that had been recorded, in an active segment
	// that another program took away.
	SegmentDeleted Reason = "segment-deleted"
	// NotDurable are events that had been written, and that a failed sync has
	// cost.
	NotDurable Reason = "not-durable"
)

// Place says where events are lost for the reason.
func (r Reason) Place() string {
	switch r {
	case RingFull, SpecMissing, RateLimit, Unreadable, Oversize:
		return "kernel"
	case DiskFull, WriteFailed, SegmentDeleted, NotDurable:
		return "disk"
	}
	return "agent"
}

// Loss is what was lost for one reason since the agent started.
type Loss struct {
	Reason       Reason
	Hits, Events uint64
}

// told is what a batch says of the losses for one reason.
type told struct {
	reason Reason
	loss   loss
	since  uint64
}

// maxUnrecorded is how many of them wait for the log before those of one library
// are joined.
const maxUnrecorded = 256

// losses counts losses and says which of them are not yet in the log. Its
// methods may be called concurrently.
type losses struct {
	mu    sync.Mutex
	count []counted
	// unrecorded are those that are not in the log yet.
	unrecorded []attach.Unrecorded
}

type counted struct {
	Loss
	// recorded are those of which the log tells.
	recorded loss
	// since is when the first loss not recorded may have happened.
	since uint64
}

// add counts a loss that happened between since and now.
func (l *losses) add(r Reason, n loss, since uint64) {
	if n == (loss{}) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.of(r)
	if c.since == 0 {
		c.since = since
	}
	c.Hits += n.hits
	c.Events += n.events
}

// addRecorded counts a loss of which the log tells already.
func (l *losses) addRecorded(r Reason, n loss) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.of(r)
	c.Hits += n.hits
	c.Events += n.events
	c.recorded.add(n)
}

// miss notes that a library was not recorded for a time.
func (l *losses) miss(u attach.Unrecorded) {
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

// raise sets the total for a reason that is counted elsewhere. It reports
// whether that is more than before.
func (l *losses) raise(r Reason, total loss, since uint64) bool {
	l.mu.Lock()
	c := l.of(r)
	more := loss{total.hits - c.Hits, total.events - c.Events}
	l.mu.Unlock()
	l.add(r, more, since)
	return more != loss{}
}

func (l *losses) of(r Reason) *counted {
	for i := range l.count {
		if l.count[i].Reason == r {
			return &l.count[i]
		}
	}
	l.count = append(l.count, counted{Loss: Loss{Reason: r}})
	return &l.count[len(l.count)-1]
}

// record writes to b what the log does not tell yet and notes it as told.
func (l *losses) record(b *batch, now uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.count {
		c := &l.count[i]
		n := loss{c.Hits - c.recorded.hits, c.Events - c.recorded.events}
		if n == (loss{}) {
			continue
		}
		start := min(c.since, now)
		b.lose(&event.Loss{
			Events: n.events, Hits: n.hits, Reason: string(c.Reason), Place: c.Reason.Place(),
			Start: start, End: now,
		})
		b.told = append(b.told, told{c.Reason, n, start})
		c.recorded.add(n)
		c.since = 0
	}
	for i := range l.unrecorded {
		b.miss(&l.unrecorded[i])
	}
	l.unrecorded = l.unrecorded[:0]
}

// untell notes that b did not get into the log, and with it what it told.
func (l *losses) untell(b *batch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range b.told {
		c := l.of(t.reason)
		c.recorded.hits -= t.loss.hits
		c.recorded.events -= t.loss.events
		if c.since == 0 || t.since < c.since {
			c.since = t.since
		}
	}
	l.unrecorded = append(l.unrecorded, b.unrecorded...)
}

// pending reports whether there is a loss that the log does not tell of.
func (l *losses) pending() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.count {
		if c := &l.count[i]; c.Hits != c.recorded.hits || c.Events != c.recorded.events {
			return true
		}
	}
	return len(l.unrecorded) > 0
}

// list returns all losses.
func (l *losses) list() []Loss {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]Loss, 0, len(l.count))
	for i := range l.count {
		all = append(all, l.count[i].Loss)
	}
	return all
}
