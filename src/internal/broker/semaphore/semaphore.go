// SPDX-License-Identifier: Apache-2.0

// Package semaphore bounds concurrent operations in total and per user.
package semaphore

import (
	"context"
	"sync"
)

// PerUser bounds concurrent operations in total and per user, so that a user's
// operations delay only the same user's. Methods may be called concurrently.
type PerUser struct {
	all  chan struct{}
	each int

	mu    sync.Mutex
	users map[uint32]*holder
}

// holder is a user; uses counts its running and waiting operations.
type holder struct {
	slots chan struct{}
	uses  int
}

// New returns a semaphore with the given limits in total and per user.
func New(all, each int) *PerUser {
	return &PerUser{all: make(chan struct{}, all), each: each, users: map[uint32]*holder{}}
}

// Acquire waits for a free slot. The error is the error of ctx.
func (t *PerUser) Acquire(ctx context.Context, user uint32) error {
	t.mu.Lock()
	u := t.users[user]
	if u == nil {
		u = &holder{slots: make(chan struct{}, t.each)}
		t.users[user] = u
	}
	u.uses++
	t.mu.Unlock()
	select {
	case u.slots <- struct{}{}:
	case <-ctx.Done():
		t.release(user, u)
		return ctx.Err()
	}
	select {
	case t.all <- struct{}{}:
		return nil
	case <-ctx.Done():
		<-u.slots
		t.release(user, u)
		return ctx.Err()
	}
}

// Release frees the slot that Acquire has taken.
func (t *PerUser) Release(user uint32) {
	t.mu.Lock()
	u := t.users[user]
	t.mu.Unlock()
	<-t.all
	<-u.slots
	t.release(user, u)
}

func (t *PerUser) release(user uint32, u *holder) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if u.uses--; u.uses == 0 {
		delete(t.users, user)
	}
}
