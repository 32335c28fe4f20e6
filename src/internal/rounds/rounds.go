// SPDX-License-Identifier: Apache-2.0

// Package rounds runs a function for several callers at once, one execution at a time.
package rounds

import (
	"context"
	"sync"
)

// Round is one execution of a function that several callers wait for.
type Round struct {
	done chan struct{}
	err  error
}

// Wait waits for the end of the round. The error is the round's or the context's.
func (q *Round) Wait(ctx context.Context) error {
	select {
	case <-q.done:
		return q.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Rounds runs a function repeatedly, one round at a time: callers that arrive
// during a round share the next one. Methods may be called concurrently.
type Rounds struct {
	// Run is the function.
	Run func() error
	// Idle, if set, is called when no caller waits for another round.
	Idle func()

	mu sync.Mutex
	// under is the current round, waiting the next one.
	under, waiting *Round
}

// Join returns a round that starts after the call.
func (r *Rounds) Join() *Round {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.under == nil:
		r.under = &Round{done: make(chan struct{})}
		go r.work()
		return r.under
	case r.waiting == nil:
		r.waiting = &Round{done: make(chan struct{})}
	}
	return r.waiting
}

// work runs rounds while callers wait for them.
func (r *Rounds) work() {
	for over := false; !over; {
		err := r.Run()
		r.mu.Lock()
		q := r.under
		q.err = err
		r.under, r.waiting = r.waiting, nil
		over = r.under == nil
		r.mu.Unlock()
		close(q.done)
	}
	if r.Idle != nil {
		r.Idle()
	}
}

// Busy reports whether a round is running.
func (r *Rounds) Busy() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.under != nil
}
