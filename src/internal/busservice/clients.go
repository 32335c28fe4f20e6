// SPDX-License-Identifier: Apache-2.0

package busservice

import (
	"context"
	"maps"
	"slices"
	"sync"

	"crypto-auditing/src/internal/broker"
	"crypto-auditing/src/internal/message"
)

// clients knows which connection each subscription is sent to.
type clients struct {
	mu    sync.Mutex
	sinks map[*broker.Subscription]*sink
}

func newClients() *clients { return &clients{sinks: map[*broker.Subscription]*sink{}} }

// set notes where a subscription will be sent, and returns where it was before.
func (c *clients) set(one *broker.Subscription, to *sink) (before *sink) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before = c.sinks[one]
	c.sinks[one] = to
	return before
}

// of returns the connection that a subscription is sent to, empty if none.
func (c *clients) of(one *broker.Subscription) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if to := c.sinks[one]; to != nil {
		return to.client
	}
	return ""
}

// has reports whether a subscription is sent to a sink.
func (c *clients) has(one *broker.Subscription, to *sink) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sinks[one] == to
}

// drop notes that a subscription is not sent to a sink any more.
func (c *clients) drop(one *broker.Subscription, to *sink) {
	c.mu.Lock()
	if c.sinks[one] == to {
		delete(c.sinks, one)
	}
	c.mu.Unlock()
	to.close()
}

// remove notes that a subscription has ended.
func (c *clients) remove(one *broker.Subscription) {
	c.mu.Lock()
	to := c.sinks[one]
	delete(c.sinks, one)
	c.mu.Unlock()
	if to != nil {
		to.close()
	}
}

// sent returns what is sent to a connection.
func (c *clients) sent(client string) map[*broker.Subscription]*sink {
	c.mu.Lock()
	defer c.mu.Unlock()
	sent := map[*broker.Subscription]*sink{}
	for one, to := range c.sinks {
		if to.client == client {
			sent[one] = to
		}
	}
	return sent
}

// all returns all connections that something is sent to.
func (c *clients) all() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	set := map[string]struct{}{}
	for _, to := range c.sinks {
		set[to.client] = struct{}{}
	}
	return slices.Collect(maps.Keys(set))
}

// newSink returns a sink for a subscription at a connection.
func (s *Service) newSink(one *broker.Subscription, client string) (*sink, error) {
	sender, err := s.senders.get(one.User())
	if err != nil {
		return nil, err
	}
	return &sink{senders: s.senders, sender: sender, user: one.User(), client: client, path: pathOf(one)}, nil
}

// attach begins to send a subscription to a sink. The reply which tells the
// client that it will has left.
func (s *Service) attach(one *broker.Subscription, to *sink) {
	// Signals take another way than the reply: this one comes back when the bus
	// has passed the reply on.
	_ = s.conn.BusObject().Call("org.freedesktop.DBus.GetId", 0).Err
	// Another connection may have come for it since: the last one gets it.
	s.attaching.Lock()
	wanted := s.clients.has(one, to)
	var err error
	if wanted {
		err = one.Attach(to)
	}
	s.attaching.Unlock()
	if !wanted || err != nil { // or it has been closed
		s.clients.drop(one, to)
		return
	}
	// Whoever left before it was attached has told nobody.
	var there bool
	asked := s.conn.BusObject().CallWithContext(context.Background(), "org.freedesktop.DBus.NameHasOwner", 0, to.client).Store(&there)
	if !s.clients.has(one, to) || asked == nil && !there {
		s.detach(one, to)
	}
}

// detach ends sending a subscription to a sink whose client is gone.
func (s *Service) detach(one *broker.Subscription, to *sink) {
	if one.Name() == "" && s.clients.has(one, to) {
		// It may be closed already.
		_ = one.Close()
	}
	one.Detach(to)
	s.clients.drop(one, to)
}

// using returns what is sent by a sender.
func (c *clients) using(by *sender) map[*broker.Subscription]*sink {
	c.mu.Lock()
	defer c.mu.Unlock()
	sent := map[*broker.Subscription]*sink{}
	for one, to := range c.sinks {
		if to.sender == by {
			sent[one] = to
		}
	}
	return sent
}

// lost is told that the connection of a sender broke: what was sent there goes
// on on another.
func (s *Service) lost(by *sender) {
	if !s.conn.Connected() {
		return // the bus is gone
	}
	s.log.Warn("a connection to the bus broke: signals go on on another")
	for one, to := range s.clients.using(by) {
		again, err := s.newSink(one, to.client)
		if err != nil {
			message.SubscriptionFailed.Log(s.log, "subscription", one.ID(), "error", err)
			s.detach(one, to)
			continue
		}
		if before := s.clients.set(one, again); before != nil {
			defer before.close()
		}
		s.attach(one, again)
	}
}

// gone is told that a connection has left the bus.
func (s *Service) gone(client string) {
	s.callers.forget(client)
	for one, to := range s.clients.sent(client) {
		s.detach(one, to)
	}
}
