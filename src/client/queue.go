// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"strings"
	"sync"

	"github.com/godbus/dbus/v5"

	"crypto-auditing/src/internal/wakeup"
)

// queued bounds the signals that wait for the subscriber. While it is full, the
// connection is not read, the broker's ping stays unanswered, and so the broker
// waits, or skips.
const queued = 8

// delivery is a signal of the subscription.
type delivery struct {
	skipped bool // Skipped, else Events
	body    []any
}

// queue takes the signals of the connections of a subscription, of one after
// the other. It is a dbus.SignalHandler, called by the goroutine that reads the
// connection: while it blocks, answers to calls are not read either.
type queue struct {
	mu      sync.Mutex
	changed sync.Cond // waiting has got shorter, calls more, closed or a link's off true
	waiting []delivery
	// ready is pending while something waits or the end has come.
	ready wakeup.Signal
	// calls is how many calls wait for an answer: meanwhile everything is taken.
	calls  int
	closed bool
	err    error // why there will be nothing more
	// cursor is the position behind what was taken, empty at first.
	cursor Cursor
}

func newQueue() *queue {
	q := &queue{ready: wakeup.New()}
	q.changed.L = &q.mu
	return q
}

// put adds a delivery of a connection when there is room, unless the connection
// has been given up by then: who comes after it begins behind what was added.
func (q *queue) put(from *link, d delivery, cursor Cursor) {
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

// take removes the oldest delivery. It waits for one until the context is done
// or the queue has ended.
func (q *queue) take(ctx context.Context) (delivery, error) {
	for {
		q.mu.Lock()
		if len(q.waiting) > 0 {
			d := q.waiting[0]
			q.waiting[0] = delivery{}
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
			return delivery{}, err
		}
		select {
		case <-q.ready:
		case <-ctx.Done():
			return delivery{}, ctx.Err()
		}
	}
}

// end ends the queue: what waits can still be taken, then there is err.
func (q *queue) end(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err == nil {
		q.err = err
	}
	q.closed = true
	q.changed.Broadcast()
	q.ready.Notify()
}

// drop forgets what waits.
func (q *queue) drop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = nil
	q.changed.Broadcast()
}

// position returns the position behind what was taken.
func (q *queue) position() Cursor {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.cursor
}

func (q *queue) setPosition(c Cursor) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.cursor = c
}

// during calls f, which waits for answers, and takes all signals meanwhile.
func (q *queue) during(f func()) {
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

// link hands the signals of one connection to the queue, and notes when the
// broker goes. It is a dbus.SignalHandler.
type link struct {
	queue *queue
	conn  *dbus.Conn
	path  dbus.ObjectPath // of the subscription
	// off says that the connection has been given up. queue.mu guards it.
	off bool

	mu sync.Mutex
	// gone is when an owner of the broker's name was last seen to go.
	gone dbus.Sequence
	// since is when the broker answered that the subscription is there;
	// NoSequence: it has not yet.
	since dbus.Sequence
	// lost is closed when the subscription has gone with the broker.
	lost   chan struct{}
	isLost bool
}

func newLink(q *queue) *link {
	return &link{queue: q, lost: make(chan struct{}), gone: dbus.NoSequence, since: dbus.NoSequence}
}

// DeliverSignal implements dbus.SignalHandler.
func (l *link) DeliverSignal(ofInterface, member string, s *dbus.Signal) {
	switch {
	case ofInterface == "org.freedesktop.DBus" && member == "NameOwnerChanged" && s.Sender == "org.freedesktop.DBus":
		l.ownerChanged(s)
	case ofInterface != subscriptionInterface || !strings.HasPrefix(string(s.Path), string(brokerPath)+"/subscription/"):
	case member == "Events" && len(s.Body) == 2:
		cursor, _ := s.Body[1].(string)
		l.queue.put(l, delivery{body: s.Body}, Cursor(cursor))
	case member == "Skipped" && len(s.Body) == 4:
		cursor, _ := s.Body[1].(string)
		l.queue.put(l, delivery{skipped: true, body: s.Body}, Cursor(cursor))
	}
}

// ownerChanged notes that the name of the broker has been left.
func (l *link) ownerChanged(s *dbus.Signal) {
	if len(s.Body) != 3 || s.Body[0] != busName || s.Body[1] == "" {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gone = s.Sequence
	l.check()
}

// established notes when the broker said that the subscription is there.
func (l *link) established(at dbus.Sequence) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.since = at
	l.check()
}

// check decides whether the broker that has the subscription is the one that
// went. The order of messages tells.
func (l *link) check() {
	if !l.isLost && l.since != dbus.NoSequence && l.gone != dbus.NoSequence && l.gone > l.since {
		l.isLost = true
		close(l.lost)
	}
}

// giveUp keeps everything that may still come from the queue.
func (l *link) giveUp() {
	l.queue.mu.Lock()
	defer l.queue.mu.Unlock()
	l.off = true
	l.queue.changed.Broadcast()
}

// close gives the connection up and closes it.
func (l *link) close() {
	l.giveUp()
	_ = l.conn.Close() // whoever waits for an answer learns of it by that call
}
