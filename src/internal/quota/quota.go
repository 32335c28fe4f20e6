// SPDX-License-Identifier: Apache-2.0

// Package quota limits how many objects, such as connections, calls or streams, users
// hold at a time. Each user has a limit, and a part is reserved for more trusted users, so
// that neither one user nor many together can lock the administrator out.
package quota

import (
	"fmt"
	"sync"
)

// Rank is the level of trust in a user.
type Rank int

const (
	// An Outsider is admitted by polkit only, or not at all.
	Outsider Rank = iota
	// A Member is in the group that may read the log.
	Member
	// Trusted are root and the services themselves.
	Trusted
)

// Holder is a user who holds or requests an object.
type Holder struct {
	User uint32
	Rank Rank
}

// Limits are the limits of a quota; 0 means no limit. Only User applies to trusted users.
type Limits struct {
	// User is the limit of each user.
	User int
	// Outsiders is the limit of all outsiders together, Others of all outsiders and members
	// together.
	Outsiders, Others int
}

// Full reports that a limit is reached.
type Full struct {
	// Limit describes the limit: the objects, and the users it applies to.
	Limit string
	// User reports that it is the limit of one user.
	User bool
	Max  int
}

// Error implements error.
func (f *Full) Error() string { return fmt.Sprintf("limit of %d %s reached", f.Max, f.Limit) }

// Quota counts the objects that users hold. It is safe for concurrent use.
type Quota struct {
	name   string
	limits Limits

	mu        sync.Mutex
	users     map[uint32]int
	outsiders int
	others    int
	all       int
}

// New returns a quota. name is the plural of its objects.
func New(name string, l Limits) *Quota {
	return &Quota{name: name, limits: l, users: map[uint32]int{}}
}

// Take counts one more object of a holder, or returns the limit that is reached.
func (q *Quota) Take(h Holder) *Full { return q.take(h, true) }

// TakeAny is like Take, without the limit of one user.
func (q *Quota) TakeAny(h Holder) *Full { return q.take(h, false) }

func (q *Quota) take(h Holder, perUser bool) *Full {
	q.mu.Lock()
	defer q.mu.Unlock()
	l := &q.limits
	switch {
	case perUser && reached(q.users[h.User], l.User):
		return &Full{Limit: q.name + " of a user", User: true, Max: l.User}
	case h.Rank == Outsider && reached(q.outsiders, l.Outsiders):
		return &Full{Limit: q.name + " of users outside the group", Max: l.Outsiders}
	case h.Rank != Trusted && reached(q.others, l.Others):
		return &Full{Limit: q.name + " in all", Max: l.Others}
	}
	q.add(h, 1)
	return nil
}

// Add counts one more object regardless of the limits, for objects that existed before.
func (q *Quota) Add(h Holder) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.add(h, 1)
}

// Release returns one object of a holder.
func (q *Quota) Release(h Holder) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.add(h, -1)
}

// Held returns the number of objects held.
func (q *Quota) Held() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.all
}

// add changes the counts. The caller holds q.mu.
func (q *Quota) add(h Holder, n int) {
	q.all += n
	if h.Rank != Trusted {
		q.others += n
	}
	if h.Rank == Outsider {
		q.outsiders += n
	}
	if q.users[h.User] += n; q.users[h.User] == 0 {
		delete(q.users, h.User)
	}
}

func reached(held, limit int) bool { return limit > 0 && held >= limit }
