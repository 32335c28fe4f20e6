// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"strings"
	"sync"

	"github.com/godbus/dbus/v5"
)

// Names on the bus.
const (
	BusName               = "org.crypto_auditing.Broker"
	BrokerPath            = "/org/crypto_auditing/Broker"
	SubscriptionInterface = "org.crypto_auditing.Broker.Subscription"
)

// Link forwards the signals of one connection to the queue, and records when the
// broker exits. It is a dbus.SignalHandler.
type Link struct {
	// Conn is set before signals are matched, Path once the object of the subscription
	// is known.
	Conn *dbus.Conn
	Path dbus.ObjectPath

	queue *Queue
	// off is set once the connection was abandoned. queue.mu guards it.
	off bool

	mu sync.Mutex
	// exited is the sequence at which an owner of the broker's name was last seen to exit.
	exited dbus.Sequence
	// since is the sequence of the broker's reply that the subscription exists;
	// NoSequence before.
	since dbus.Sequence
	// Lost is closed when the broker that has the subscription has exited.
	Lost   chan struct{}
	isLost bool
}

// NewLink returns a link to a queue.
func NewLink(q *Queue) *Link {
	return &Link{queue: q, Lost: make(chan struct{}), exited: dbus.NoSequence, since: dbus.NoSequence}
}

// DeliverSignal implements dbus.SignalHandler.
func (l *Link) DeliverSignal(ofInterface, member string, s *dbus.Signal) {
	switch {
	case ofInterface == "org.freedesktop.DBus" && member == "NameOwnerChanged" && s.Sender == "org.freedesktop.DBus":
		l.ownerChanged(s)
	case ofInterface != SubscriptionInterface || !strings.HasPrefix(string(s.Path), BrokerPath+"/subscription/"):
	case member == "Events" && len(s.Body) == 2:
		cursor, _ := s.Body[1].(string)
		l.queue.put(l, Delivery{Body: s.Body}, cursor)
	case member == "Operations" && len(s.Body) == 2:
		cursor, _ := s.Body[1].(string)
		l.queue.put(l, Delivery{Operations: true, Body: s.Body}, cursor)
	case member == "Skipped" && len(s.Body) == 4:
		cursor, _ := s.Body[1].(string)
		l.queue.put(l, Delivery{Skipped: true, Body: s.Body}, cursor)
	}
}

// ownerChanged records that the broker's name has lost its owner.
func (l *Link) ownerChanged(s *dbus.Signal) {
	if len(s.Body) != 3 || s.Body[0] != BusName || s.Body[1] == "" {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.exited = s.Sequence
	l.check()
}

// Established records the reply of the broker that the subscription exists.
func (l *Link) Established(at dbus.Sequence) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.since = at
	l.check()
}

// check determines, by the order of messages, whether the broker that has the
// subscription is the one that exited.
func (l *Link) check() {
	if !l.isLost && l.since != dbus.NoSequence && l.exited != dbus.NoSequence && l.exited > l.since {
		l.isLost = true
		close(l.Lost)
	}
}

// giveUp discards everything that the connection may still receive.
func (l *Link) giveUp() {
	l.queue.mu.Lock()
	defer l.queue.mu.Unlock()
	l.off = true
	l.queue.changed.Broadcast()
}

// Close abandons the connection and closes it.
func (l *Link) Close() {
	l.giveUp()
	_ = l.Conn.Close() // pending calls end with an error
}
