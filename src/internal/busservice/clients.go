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

// clients maps subscriptions to the connections that they are sent to.
type clients struct {
	mu    sync.Mutex
	sinks map[*delivery.Subscription]*sink
}

func newClients() *clients { return &clients{sinks: map[*delivery.Subscription]*sink{}} }

// set assigns a subscription to a sink and returns the sink it had before.
func (c *clients) set(subscription *delivery.Subscription, to *sink) (before *sink) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before = c.sinks[subscription]
	c.sinks[subscription] = to
	return before
}

// connection returns the connection that a subscription is sent to, empty if none.
func (c *clients) connection(subscription *delivery.Subscription) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if to := c.sinks[subscription]; to != nil {
		return to.client
	}
	return ""
}

// has reports whether a subscription is sent to a sink.
func (c *clients) has(subscription *delivery.Subscription, to *sink) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sinks[subscription] == to
}

// drop removes the assignment of a subscription to a sink.
func (c *clients) drop(subscription *delivery.Subscription, to *sink) {
	c.mu.Lock()
	if c.sinks[subscription] == to {
		delete(c.sinks, subscription)
	}
	c.mu.Unlock()
	to.close()
}

// remove deletes a subscription.
func (c *clients) remove(subscription *delivery.Subscription) {
	c.mu.Lock()
	to := c.sinks[subscription]
	delete(c.sinks, subscription)
	c.mu.Unlock()
	if to != nil {
		to.close()
	}
}

// sent returns the subscriptions that are sent to a connection.
func (c *clients) sent(client string) map[*delivery.Subscription]*sink {
	c.mu.Lock()
	defer c.mu.Unlock()
	sent := map[*delivery.Subscription]*sink{}
	for subscription, to := range c.sinks {
		if to.client == client {
			sent[subscription] = to
		}
	}
	return sent
}

// all returns all connections that subscriptions are sent to.
func (c *clients) all() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	set := map[string]struct{}{}
	for _, to := range c.sinks {
		set[to.client] = struct{}{}
	}
	return slices.Collect(maps.Keys(set))
}

// sink sends the groups of one subscription to a client. It uses the connection
// that owns the bus name, since proxies ignore signals of other senders.
type sink struct {
	service *Service
	// client is the unique name of the connection, user its owner.
	client string
	user   uint32
	path   dbus.ObjectPath

	mu       sync.Mutex
	reserved int
	closed   bool
}

// newSink returns a sink for a subscription of a user's connection.
func (s *Service) newSink(subscription *delivery.Subscription, client string, user uint32) *sink {
	return &sink{service: s, client: client, user: user, path: pathOf(subscription)}
}

// take transfers the reserved bytes to the caller.
func (s *sink) take() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.reserved
	s.reserved = 0
	return n
}

// giveBack releases the reserved bytes.
func (s *sink) giveBack() {
	if n := s.take(); n > 0 {
		s.service.backlog.Cancel(transport.Windows, s.client, s.user, n)
	}
}

// close releases the resources of the sink.
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

// sending marks the reserved bytes as in use by a message.
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

// Operations implements delivery.Sink.
func (s *sink) Operations(operations []byte, _ int, cursor logstore.Cursor) error {
	message := marshal.OperationsSignal(s.service.socket.Serial(), s.client, string(s.path), subscriptionInterface, operations, cursor.String())
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

// attach starts delivery of a subscription to a sink. It runs after the reply
// that announces it has been sent.
func (s *Service) attach(subscription *delivery.Subscription, to *sink) {
	// A later call may have attached another connection: the last one wins.
	s.attaching.Lock()
	wanted := s.clients.has(subscription, to)
	var err error
	if wanted {
		err = subscription.Attach(to)
	}
	s.attaching.Unlock()
	if !wanted || err != nil { // or it was closed
		s.clients.drop(subscription, to)
		return
	}
	// The client may have disconnected before the subscription was attached.
	var connected bool
	queryErr := s.conn.BusObject().CallWithContext(context.Background(), "org.freedesktop.DBus.NameHasOwner", 0, to.client).Store(&connected)
	if !s.clients.has(subscription, to) || queryErr == nil && !connected {
		s.detach(subscription, to)
	}
}

// detach ends delivery of a subscription to a sink whose client has disconnected.
func (s *Service) detach(subscription *delivery.Subscription, to *sink) {
	if subscription.Name() == "" && s.clients.has(subscription, to) {
		// It may be closed already.
		_ = subscription.Close()
	}
	subscription.Detach(to)
	s.clients.drop(subscription, to)
}

// disconnected handles the disconnection of a client.
func (s *Service) disconnected(client string) {
	s.callers.Forget(client)
	s.backlog.Disconnected(client)
	for subscription, to := range s.clients.sent(client) {
		s.detach(subscription, to)
	}
}
