// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"context"
	"sync"
)

// round is one execution of a function that several callers wait for.
type round struct {
	done chan struct{}
	err  error
}

// wait waits for the end of the round. The error is the round's or that of ctx.
func (q *round) wait(ctx context.Context) error {
	select {
	case <-q.done:
		return q.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// rounds runs a function repeatedly, one round at a time: callers that arrive
// during a round share the next one. Methods may be called concurrently.
type rounds struct {
	run func() error
	// idle, if set, is called when no caller waits for another round.
	idle func()

	mu sync.Mutex
	// under is the current round, waiting the next one.
	under, waiting *round
}

// join returns a round that starts after the call.
func (r *rounds) join() *round {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.under == nil:
		r.under = &round{done: make(chan struct{})}
		go r.work()
		return r.under
	case r.waiting == nil:
		r.waiting = &round{done: make(chan struct{})}
	}
	return r.waiting
}

// work runs rounds while callers wait for them.
func (r *rounds) work() {
	for over := false; !over; {
		err := r.run()
		r.mu.Lock()
		q := r.under
		q.err = err
		r.under, r.waiting = r.waiting, nil
		over = r.under == nil
		r.mu.Unlock()
		close(q.done)
	}
	if r.idle != nil {
		r.idle()
	}
}

// busy reports whether a round is running.
func (r *rounds) busy() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.under != nil
}
