// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"context"
	"sync"
)

// round is one round of something that several wait for.
type round struct {
	done chan struct{}
	err  error
}

// wait returns when the round is over. The error is that of the round, or of ctx.
func (q *round) wait(ctx context.Context) error {
	select {
	case <-q.done:
		return q.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// rounds runs something again and again, one round at a time: all who have come
// during a round share the next. Its methods may be called concurrently.
type rounds struct {
	run func() error
	// idle is called when nobody waits for another round; nil: nothing is.
	idle func()

	mu sync.Mutex
	// under is the round that runs, waiting the one after it.
	under, waiting *round
}

// join returns a round that begins after the call.
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

// work runs rounds until nobody waits for another one.
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

// busy reports whether a round runs.
func (r *rounds) busy() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.under != nil
}
