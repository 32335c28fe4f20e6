// SPDX-License-Identifier: Apache-2.0

// Package quota bounds how many of something users hold at a time, such as
// connections, calls or streams. Each user has a bound, and a part is reserved for
// those who are trusted with more, so that neither one user nor many together
// keep the administrator out.
package quota

import (
	"fmt"
	"sync"
)

// Rank is how much a user is trusted with.
type Rank int

const (
	// A Stranger is admitted by polkit alone, or not at all.
	Stranger Rank = iota
	// A Member is in the group of those who may read the log.
	Member
	// Trusted are root and the services themselves.
	Trusted
)

// Holder is a user who holds or wants something.
type Holder struct {
	User uint32
	Rank Rank
}

// Limits bound what is held at a time; 0 is no bound. The trusted are bounded by
// User alone.
type Limits struct {
	// User bounds each user.
	User int
	// Strangers bounds all strangers together, Others all strangers and members.
	Strangers, Others int
}

// Full reports a limit that is reached.
type Full struct {
	// Limit names it: what is counted, and of whom.
	Limit string
	// User says that it is the limit of one user.
	User bool
	Max  int
}

// Error implements error.
func (f *Full) Error() string { return fmt.Sprintf("limit of %d %s reached", f.Max, f.Limit) }

// Quota counts what users hold. Its methods may be called concurrently.
type Quota struct {
	name   string
	limits Limits

	mu        sync.Mutex
	users     map[uint32]int
	strangers int
	others    int
	all       int
}

// New returns a quota of things that name names, a plural.
func New(name string, l Limits) *Quota {
	return &Quota{name: name, limits: l, users: map[uint32]int{}}
}

// Take counts one more of a holder, or returns which limit that would exceed.
func (q *Quota) Take(h Holder) *Full { return q.take(h, true) }

// TakeAny is as Take, without the limit of one user.
func (q *Quota) TakeAny(h Holder) *Full { return q.take(h, false) }

func (q *Quota) take(h Holder, perUser bool) *Full {
	q.mu.Lock()
	defer q.mu.Unlock()
	l := &q.limits
	switch {
	case perUser && reached(q.users[h.User], l.User):
		return &Full{Limit: q.name + " of a user", User: true, Max: l.User}
	case h.Rank == Stranger && reached(q.strangers, l.Strangers):
		return &Full{Limit: q.name + " of users outside the group", Max: l.Strangers}
	case h.Rank != Trusted && reached(q.others, l.Others):
		return &Full{Limit: q.name + " in all", Max: l.Others}
	}
	q.add(h, 1)
	return nil
}

// Add counts one more of a holder, whatever the limits: one that was there before.
func (q *Quota) Add(h Holder) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.add(h, 1)
}

// Release gives back one that a holder has taken.
func (q *Quota) Release(h Holder) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.add(h, -1)
}

// Held returns how many are held.
func (q *Quota) Held() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.all
}

// add changes the counts. q.mu is held.
func (q *Quota) add(h Holder, n int) {
	q.all += n
	if h.Rank != Trusted {
		q.others += n
	}
	if h.Rank == Stranger {
		q.strangers += n
	}
	if q.users[h.User] += n; q.users[h.User] == 0 {
		delete(q.users, h.User)
	}
}

func reached(held, limit int) bool { return limit > 0 && held >= limit }
