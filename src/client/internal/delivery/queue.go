// SPDX-License-Identifier: Apache-2.0

// Package delivery merges the signals that a subscription receives over its
// successive connections into one queue, and applies the subscriber's pace to them.
package delivery

import (
	"context"
	"sync"

	"crypto-auditing/src/internal/wakeup"
)

// queued bounds the waiting signals. While the queue is full, the connection is not
// read and the broker's ping stays unanswered, so that the broker waits or skips.
const queued = 8

// Delivery is a signal of the subscription.
type Delivery struct {
	Skipped, Operations bool // else it is Events
	Body                []any
}

// Queue receives the signals of a subscription's successive connections. It is a
// dbus.SignalHandler, called by the goroutine that reads the connection: while it
// blocks, replies to calls are not read either.
type Queue struct {
	mu      sync.Mutex
	changed sync.Cond // waiting became shorter, calls larger, closed true or a link's off true
	waiting []Delivery
	// ready is pending while a delivery is waiting or the queue has ended.
	ready wakeup.Signal
	// calls is the number of pending calls: meanwhile the limit does not apply.
	calls  int
	closed bool
	err    error // the reason for the end
	// cursor is the position after the last taken delivery, empty at first.
	cursor string
}

// NewQueue returns an empty queue.
func NewQueue() *Queue {
	q := &Queue{ready: wakeup.New()}
	q.changed.L = &q.mu
	return q
}

// put adds a delivery of a connection once there is room, unless the connection was
// abandoned: its successor continues after the last added delivery.
func (q *Queue) put(from *Link, d Delivery, cursor string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.waiting) >= queued && q.calls == 0 && !q.closed && !from.off {
		q.changed.Wait()
	}
	if q.closed || from.off {
		return
	}
	q.waiting = append(q.waiting, d)
	q.cursor = cursor
	q.ready.Notify()
}

// Take removes the oldest delivery. It waits for one until the context is done
// or the queue has ended.
func (q *Queue) Take(ctx context.Context) (Delivery, error) {
	for {
		q.mu.Lock()
		if len(q.waiting) > 0 {
			d := q.waiting[0]
			q.waiting[0] = Delivery{}
			q.waiting = q.waiting[1:]
			if len(q.waiting) > 0 || q.err != nil {
				q.ready.Notify()
			}
			q.changed.Broadcast()
			q.mu.Unlock()
			return d, nil
		}
		err := q.err
		q.mu.Unlock()
		if err != nil {
			q.ready.Notify()
			return Delivery{}, err
		}
		select {
		case <-q.ready:
		case <-ctx.Done():
			return Delivery{}, ctx.Err()
		}
	}
}

// End ends the queue: waiting deliveries can still be taken, then the error is err.
func (q *Queue) End(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err == nil {
		q.err = err
	}
	q.closed = true
	q.changed.Broadcast()
	q.ready.Notify()
}

// Drop discards the waiting deliveries.
func (q *Queue) Drop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = nil
	q.changed.Broadcast()
}

// Position returns the position after the last taken delivery.
func (q *Queue) Position() string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.cursor
}

// SetPosition sets the position, for example after a seek.
func (q *Queue) SetPosition(c string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.cursor = c
}

// During calls f, which waits for replies, and accepts all signals meanwhile.
func (q *Queue) During(f func()) {
	q.mu.Lock()
	q.calls++
	q.changed.Broadcast()
	q.mu.Unlock()
	defer func() {
		q.mu.Lock()
		q.calls--
		q.mu.Unlock()
	}()
	f()
}
