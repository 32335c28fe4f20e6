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

// Link hands the signals of one connection to the queue, and notes when the
// broker goes. It is a dbus.SignalHandler.
type Link struct {
	// Conn is set before signals are matched, Path, of the subscription, once it is
	// known.
	Conn *dbus.Conn
	Path dbus.ObjectPath

	queue *Queue
	// off says that the connection has been given up. queue.mu guards it.
	off bool

	mu sync.Mutex
	// gone is when an owner of the broker's name was last seen to go.
	gone dbus.Sequence
	// since is when the broker answered that the subscription is there;
	// NoSequence: it has not yet.
	since dbus.Sequence
	// Lost is closed when the subscription has gone with the broker.
	Lost   chan struct{}
	isLost bool
}

// NewLink returns a link to a queue.
func NewLink(q *Queue) *Link {
	return &Link{queue: q, Lost: make(chan struct{}), gone: dbus.NoSequence, since: dbus.NoSequence}
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
	case member == "Skipped" && len(s.Body) == 4:
		cursor, _ := s.Body[1].(string)
		l.queue.put(l, Delivery{Skipped: true, Body: s.Body}, cursor)
	}
}

// ownerChanged notes that the name of the broker has been left.
func (l *Link) ownerChanged(s *dbus.Signal) {
	if len(s.Body) != 3 || s.Body[0] != BusName || s.Body[1] == "" {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gone = s.Sequence
	l.check()
}

// Established notes when the broker said that the subscription is there.
func (l *Link) Established(at dbus.Sequence) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.since = at
	l.check()
}

// check decides whether the broker that has the subscription is the one that
// went. The order of messages tells.
func (l *Link) check() {
	if !l.isLost && l.since != dbus.NoSequence && l.gone != dbus.NoSequence && l.gone > l.since {
		l.isLost = true
		close(l.Lost)
	}
}

// giveUp keeps everything that may still come from the queue.
func (l *Link) giveUp() {
	l.queue.mu.Lock()
	defer l.queue.mu.Unlock()
	l.off = true
	l.queue.changed.Broadcast()
}

// Close gives the connection up and closes it.
func (l *Link) Close() {
	l.giveUp()
	_ = l.Conn.Close() // whoever waits for an answer learns of it by that call
}
