// SPDX-License-Identifier: Apache-2.0

// Package semaphore bounds what is done at the same time, in all and for each
// user.
package semaphore

import (
	"context"
	"sync"
)

// Turns bounds how many do something at the same time, in all and for each
// user, so that one user waits for himself and not others for him. Its methods
// may be called concurrently.
type Turns struct {
	all  chan struct{}
	each int

	mu    sync.Mutex
	users map[uint32]*userTurns
}

// userTurns are those of a user; uses counts who has or wants one.
type userTurns struct {
	slots chan struct{}
	uses  int
}

// NewTurns returns turns for so many in all and of each user.
func NewTurns(all, each int) *Turns {
	return &Turns{all: make(chan struct{}, all), each: each, users: map[uint32]*userTurns{}}
}

// Get waits for a turn of a user. The error is that of ctx.
func (t *Turns) Get(ctx context.Context, user uint32) error {
	t.mu.Lock()
	u := t.users[user]
	if u == nil {
		u = &userTurns{slots: make(chan struct{}, t.each)}
		t.users[user] = u
	}
	u.uses++
	t.mu.Unlock()
	select {
	case u.slots <- struct{}{}:
	case <-ctx.Done():
		t.leave(user, u)
		return ctx.Err()
	}
	select {
	case t.all <- struct{}{}:
		return nil
	case <-ctx.Done():
		<-u.slots
		t.leave(user, u)
		return ctx.Err()
	}
}

// Put ends a turn.
func (t *Turns) Put(user uint32) {
	t.mu.Lock()
	u := t.users[user]
	t.mu.Unlock()
	<-t.all
	<-u.slots
	t.leave(user, u)
}

func (t *Turns) leave(user uint32, u *userTurns) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if u.uses--; u.uses == 0 {
		delete(t.users, user)
	}
}
