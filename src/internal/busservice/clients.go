// SPDX-License-Identifier: Apache-2.0

package busservice

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/godbus/dbus/v5"

	"crypto-auditing/src/internal/broker/delivery"
	"crypto-auditing/src/internal/broker/reading"
	"crypto-auditing/src/internal/busservice/marshal"
	"crypto-auditing/src/internal/busservice/transport"
	"crypto-auditing/src/internal/logstore"
)

// clients knows which connection each subscription is sent to.
type clients struct {
	mu    sync.Mutex
	sinks map[*delivery.Subscription]*sink
}

func newClients() *clients { return &clients{sinks: map[*delivery.Subscription]*sink{}} }

// set notes where a subscription will be sent, and returns where it was before.
func (c *clients) set(one *delivery.Subscription, to *sink) (before *sink) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before = c.sinks[one]
	c.sinks[one] = to
	return before
}

// of returns the connection that a subscription is sent to, empty if none.
func (c *clients) of(one *delivery.Subscription) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if to := c.sinks[one]; to != nil {
		return to.client
	}
	return ""
}

// has reports whether a subscription is sent to a sink.
func (c *clients) has(one *delivery.Subscription, to *sink) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sinks[one] == to
}

// drop notes that a subscription is not sent to a sink any more.
func (c *clients) drop(one *delivery.Subscription, to *sink) {
	c.mu.Lock()
	if c.sinks[one] == to {
		delete(c.sinks, one)
	}
	c.mu.Unlock()
	to.close()
}

// remove notes that a subscription has ended.
func (c *clients) remove(one *delivery.Subscription) {
	c.mu.Lock()
	to := c.sinks[one]
	delete(c.sinks, one)
	c.mu.Unlock()
	if to != nil {
		to.close()
	}
}

// sent returns what is sent to a connection.
func (c *clients) sent(client string) map[*delivery.Subscription]*sink {
	c.mu.Lock()
	defer c.mu.Unlock()
	sent := map[*delivery.Subscription]*sink{}
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

// sink sends a subscription's groups to a client, on the connection that owns the
// name: proxies take signals of no other.
type sink struct {
	service *Service
	// client is the unique name of the connection, user whose it is.
	client string
	user   uint32
	path   dbus.ObjectPath

	mu       sync.Mutex
	reserved int
	closed   bool
}

// newSink returns a sink for a subscription at a connection of a user.
func (s *Service) newSink(one *delivery.Subscription, client string, user uint32) *sink {
	return &sink{service: s, client: client, user: user, path: pathOf(one)}
}

// take returns what is reserved, which is the caller's then.
func (s *sink) take() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.reserved
	s.reserved = 0
	return n
}

// giveBack gives back what is reserved.
func (s *sink) giveBack() {
	if n := s.take(); n > 0 {
		s.service.backlog.Cancel(transport.Windows, s.client, s.user, n)
	}
}

// close gives back what the sink uses.
func (s *sink) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.giveBack()
}

// Reserve implements delivery.Sink.
func (s *sink) Reserve(ctx context.Context, bytes int) error {
	s.giveBack()
	n, err := s.service.backlog.Reserve(ctx, transport.Windows, s.client, s.user, bytes, bytes)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.reserved = n
	closed := s.closed
	s.mu.Unlock()
	if closed {
		s.giveBack()
	}
	return nil
}

// sending notes that what is reserved is being sent.
func (s *sink) sending() {
	n := s.take()
	s.service.backlog.Sent(transport.Windows, s.client, s.user, n, n)
}

// Events implements delivery.Sink.
func (s *sink) Events(groups []byte, _ int, cursor logstore.Cursor) error {
	message := marshal.Events(s.service.socket.Serial(), s.client, string(s.path), subscriptionInterface, groups, cursor.String())
	s.sending()
	return s.service.socket.Send(transport.Encoded(message))
}

// Skipped implements delivery.Sink.
func (s *sink) Skipped(g *reading.Gap) error {
	m := &dbus.Message{
		Type:  dbus.TypeSignal,
		Flags: dbus.FlagNoReplyExpected | dbus.FlagNoAutoStart,
		Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldDestination: dbus.MakeVariant(s.client),
			dbus.FieldPath:        dbus.MakeVariant(s.path),
			dbus.FieldInterface:   dbus.MakeVariant(subscriptionInterface),
			dbus.FieldMember:      dbus.MakeVariant("Skipped"),
			dbus.FieldSignature:   dbus.MakeVariant(dbus.ParseSignatureMust("ssts")),
		},
		Body: []any{g.From.String(), g.To.String(), g.Entries, string(g.Reason)},
	}
	message, err := s.service.socket.Encode(m)
	if err != nil {
		return err
	}
	s.sending()
	return s.service.socket.Send(message)
}

// Ping implements delivery.Sink.
func (s *sink) Ping(ctx context.Context) error {
	return s.service.watcher.Ping(ctx, s.client, s.user)
}

// attach begins to send a subscription to a sink. The reply which tells the
// client that it will has left.
func (s *Service) attach(one *delivery.Subscription, to *sink) {
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
func (s *Service) detach(one *delivery.Subscription, to *sink) {
	if one.Name() == "" && s.clients.has(one, to) {
		// It may be closed already.
		_ = one.Close()
	}
	one.Detach(to)
	s.clients.drop(one, to)
}

// gone is told that a connection has left the bus.
func (s *Service) gone(client string) {
	s.callers.Forget(client)
	s.backlog.Gone(client)
	for one, to := range s.clients.sent(client) {
		s.detach(one, to)
	}
}
