// SPDX-License-Identifier: Apache-2.0

// Package delivery takes the signals of a subscription from the connections that
// it has had, of one after the other, in the order and the measure in which the
// subscriber takes them.
package delivery

import (
	"context"
	"sync"

	"crypto-auditing/src/internal/wakeup"
)

// queued bounds the signals that wait for the subscriber. While it is full, the
// connection is not read, the broker's ping stays unanswered, and so the broker
// waits, or skips.
const queued = 8

// Delivery is a signal of the subscription.
type Delivery struct {
	Skipped bool // Skipped, else Events
	Body    []any
}

// Queue takes the signals of the connections of a subscription, of one after
// the other. It is a dbus.SignalHandler, called by the goroutine that reads the
// connection: while it blocks, answers to calls are not read either.
type Queue struct {
	mu      sync.Mutex
	changed sync.Cond // waiting has got shorter, calls more, closed or a link's off true
	waiting []Delivery
	// ready is pending while something waits or the end has come.
	ready wakeup.Signal
	// calls is how many calls wait for an answer: meanwhile everything is taken.
	calls  int
	closed bool
	err    error // why there will be nothing more
	// cursor is the position behind what was taken, empty at first.
	cursor string
}

// NewQueue returns an empty queue.
func NewQueue() *Queue {
	q := &Queue{ready: wakeup.New()}
	q.changed.L = &q.mu
	return q
}

// put adds a delivery of a connection when there is room, unless the connection
// has been given up by then: who comes after it begins behind what was added.
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

// End ends the queue: what waits can still be taken, then there is err.
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

// Drop forgets what waits.
func (q *Queue) Drop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = nil
	q.changed.Broadcast()
}

// Position returns the position behind what was taken.
func (q *Queue) Position() string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.cursor
}

// SetPosition sets the position, as after a seek.
func (q *Queue) SetPosition(c string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.cursor = c
}

// During calls f, which waits for answers, and takes all signals meanwhile.
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
