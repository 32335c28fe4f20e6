// SPDX-License-Identifier: Apache-2.0

package agentservice

import (
	"context"
	"sync"
)

// shared runs a function for many callers, once at a time. A caller receives the result of
// a run that started after its call; callers during a run share the next one.
type shared[T any] struct {
	do func(context.Context) (T, error)

	mu      sync.Mutex
	running bool
	next    *execution[T]
}

type execution[T any] struct {
	// done is closed when value and err are set.
	done  chan struct{}
	value T
	err   error
}

func newShared[T any](do func(context.Context) (T, error)) *shared[T] {
	return &shared[T]{do: do}
}

// call returns the result, or the error of ctx if that is done first.
func (s *shared[T]) call(ctx context.Context) (T, error) {
	s.mu.Lock()
	if s.next == nil {
		s.next = &execution[T]{done: make(chan struct{})}
	}
	d := s.next
	if !s.running {
		s.running = true
		go s.run()
	}
	s.mu.Unlock()
	select {
	case <-d.done:
		return d.value, d.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// run calls do until no caller waits.
func (s *shared[T]) run() {
	for {
		s.mu.Lock()
		d := s.next
		s.next = nil
		s.running = d != nil
		s.mu.Unlock()
		if d == nil {
			return
		}
		s.once(d)
	}
}

// once calls do for all callers that wait for d. It does not use the context of a caller,
// which may be done earlier.
func (s *shared[T]) once(d *execution[T]) {
	defer close(d.done)
	ctx, cancel := context.WithTimeout(context.Background(), callTime)
	defer cancel()
	d.value, d.err = s.do(ctx)
}
