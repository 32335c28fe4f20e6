// SPDX-License-Identifier: Apache-2.0

package busservice

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/godbus/dbus/v5"

	"crypto-auditing/src/internal/broker"
	"crypto-auditing/src/internal/logstore"
)

// writeTime is how long the bus may take to read a message before it counts as
// broken.
const writeTime = 20 * time.Second

// wire is the socket of a connection that godbus and we write to. Each writes
// whole messages.
type wire struct {
	*net.UnixConn
	mu sync.Mutex
}

// Write writes a message of godbus.
func (w *wire) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return 0, err
	}
	return w.UnixConn.Write(b)
}

// send writes a message of ours.
func (w *wire) send(parts ...[]byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return err
	}
	buffers := net.Buffers(parts)
	_, err := buffers.WriteTo(w.UnixConn)
	return err
}

// dial connects to a bus: its address is as in the D-Bus specification, "Server
// Addresses", with the transport unix.
func dial(address string) (*net.UnixConn, error) {
	var errs []error
	for one := range strings.SplitSeq(address, ";") {
		keys, ok := strings.CutPrefix(one, "unix:")
		if !ok {
			continue
		}
		for pair := range strings.SplitSeq(keys, ",") {
			key, value, _ := strings.Cut(pair, "=")
			name, err := dbus.UnescapeBusAddressValue(value)
			switch {
			case err != nil:
				errs = append(errs, err)
				continue
			case key == "abstract":
				name = "@" + name
			case key != "path":
				continue
			}
			c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: name, Net: "unix"})
			if err == nil {
				return c, nil
			}
			errs = append(errs, err)
		}
	}
	if errs == nil {
		errs = append(errs, errors.New("it has no unix socket"))
	}
	return nil, fmt.Errorf("cannot connect to the bus at %s: %w", address, errors.Join(errs...))
}

// sender sends the signals of a user's subscriptions, on a connection of its
// own.
type sender struct {
	wire *wire
	conn *dbus.Conn
	// serial counts our own messages; godbus counts from 1 and gets no answers
	// to any of ours, so that the numbers are only not to be zero.
	serial atomic.Uint32
	pings  *pings
	// sinks is how many subscriptions use it; it is guarded by senders.mu.
	sinks int
}

func newSender(address string) (*sender, error) {
	c, err := dial(address)
	if err != nil {
		return nil, err
	}
	s := &sender{wire: &wire{UnixConn: c}, pings: newPings()}
	if s.conn, err = dbus.NewConn(s.wire, dbus.WithHandler(nothing{}), dbus.WithSignalHandler(nothing{})); err != nil {
		c.Close()
		return nil, fmt.Errorf("cannot use the bus: %w", err)
	}
	if err = s.conn.Auth(nil); err == nil {
		err = s.conn.Hello()
	}
	if err != nil {
		s.conn.Close()
		return nil, fmt.Errorf("cannot use the bus: %w", err)
	}
	return s, nil
}

// nothing serves no objects and listens to no signals.
type nothing struct{}

func (nothing) LookupObject(dbus.ObjectPath) (dbus.ServerObject, bool) { return nil, false }
func (nothing) DeliverSignal(string, string, *dbus.Signal)             {}

// next returns a serial number.
func (s *sender) next() uint32 {
	if n := s.serial.Add(1); n != 0 {
		return n
	}
	return s.serial.Add(1)
}

// senders has a sender for each user who is sent signals.
type senders struct {
	address string
	// lost is told of a sender whose connection broke.
	lost func(*sender)

	mu    sync.Mutex
	users map[uint32]*sender
}

func newSenders(address string, lost func(*sender)) *senders {
	return &senders{address: address, lost: lost, users: map[uint32]*sender{}}
}

// get returns the sender of a user, for one more subscription.
func (s *senders) get(user uint32) (*sender, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.users[user]
	if one != nil && !one.conn.Connected() {
		one = nil
	}
	if one == nil {
		var err error
		if one, err = newSender(s.address); err != nil {
			return nil, err
		}
		s.users[user] = one
		go s.watch(one)
	}
	one.sinks++
	return one, nil
}

// watch tells if the connection of a sender breaks while somebody uses it.
func (s *senders) watch(one *sender) {
	<-one.conn.Context().Done()
	s.mu.Lock()
	used := one.sinks > 0
	s.mu.Unlock()
	if used {
		s.lost(one)
	}
}

// put gives a sender back.
func (s *senders) put(user uint32, one *sender) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if one.sinks--; one.sinks > 0 {
		return
	}
	if s.users[user] == one {
		delete(s.users, user)
	}
	one.conn.Close()
}

// sink sends a subscription's groups to a client.
type sink struct {
	senders *senders
	sender  *sender
	user    uint32
	// client is the unique name of the connection.
	client string
	path   dbus.ObjectPath
	closed sync.Once
}

// close gives back what the sink uses.
func (s *sink) close() {
	s.closed.Do(func() { s.senders.put(s.user, s.sender) })
}

// Events implements broker.Sink.
func (s *sink) Events(groups []byte, _ int, cursor logstore.Cursor) error {
	groups = trim(groups)
	before, after := eventsMessage(s.sender.next(), s.client, string(s.path), groups, cursor.String())
	return s.sender.wire.send(before, groups, after)
}

// Skipped implements broker.Sink.
func (s *sink) Skipped(g *broker.Gap) error {
	m := &dbus.Message{
		Type: dbus.TypeSignal,
		Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldDestination: dbus.MakeVariant(s.client),
			dbus.FieldPath:        dbus.MakeVariant(s.path),
			dbus.FieldInterface:   dbus.MakeVariant(subscriptionInterface),
			dbus.FieldMember:      dbus.MakeVariant("Skipped"),
			dbus.FieldSignature:   dbus.MakeVariant(dbus.ParseSignatureMust("ssts")),
		},
		Body: []any{g.From.String(), g.To.String(), g.Entries, string(g.Reason)},
	}
	return s.sender.conn.Send(m, nil).Err
}

// Ping implements broker.Sink.
func (s *sink) Ping(ctx context.Context) error { return s.sender.pings.ping(ctx, s.sender, s.client) }

const (
	// refusedPause is how long to wait where the bus does not let us ask, instead
	// of the answer.
	refusedPause = 100 * time.Millisecond
)

// pings asks clients for answers, on the connection on which they are sent
// signals: one question at a time for each, whatever the number of its
// subscriptions, since a bus bounds the open questions of a connection.
type pings struct {
	mu      sync.Mutex
	clients map[string]*pinged
}

// pinged are the questions to a client: one under way, and one for all who have
// come since it was sent.
type pinged struct {
	under, waiting *question
}

// question is a ping.
type question struct {
	done chan struct{}
	err  error
}

func newPings() *pings { return &pings{clients: map[string]*pinged{}} }

// ping returns when the client has answered a ping sent after the call.
func (p *pings) ping(ctx context.Context, s *sender, client string) error {
	p.mu.Lock()
	c := p.clients[client]
	if c == nil {
		c = &pinged{}
		p.clients[client] = c
	}
	var q *question
	switch {
	case c.under == nil:
		q = &question{done: make(chan struct{})}
		c.under = q
		go p.ask(s, client, c)
	case c.waiting == nil:
		q = &question{done: make(chan struct{})}
		c.waiting = q
	default:
		q = c.waiting
	}
	p.mu.Unlock()
	select {
	case <-q.done:
		return q.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ask sends the questions to a client until none is left.
func (p *pings) ask(s *sender, client string, c *pinged) {
	for {
		err := s.ping(client)
		p.mu.Lock()
		q := c.under
		q.err = err
		c.under, c.waiting = c.waiting, nil
		over := c.under == nil
		if over {
			delete(p.clients, client)
		}
		p.mu.Unlock()
		close(q.done)
		if over {
			return
		}
	}
}

// ping waits for a client's answer, whatever it is. It ends when the client
// leaves the bus. The error says that the connection is broken.
func (s *sender) ping(client string) error {
	for {
		call := <-s.conn.Object(client, "/").Go("org.freedesktop.DBus.Peer.Ping", dbus.FlagNoAutoStart, nil).Done
		var answer dbus.Error
		if call.Err == nil {
			return nil
		}
		if !errors.As(call.Err, &answer) {
			return fmt.Errorf("cannot ask a client: %w", call.Err)
		}
		switch answer.Name {
		case "org.freedesktop.DBus.Error.LimitsExceeded":
			// Too many of its user's connections do not answer.
			time.Sleep(refusedPause)
			continue
		case "org.freedesktop.DBus.Error.AccessDenied":
			// The bus does not let us ask: our policy is not installed.
			time.Sleep(refusedPause)
		}
		return nil
	}
}
