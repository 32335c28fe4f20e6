// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"

	"crypto-auditing/src/client/internal/delivery"
	"crypto-auditing/src/internal/status"
)

// SubscribeOptions are options of Subscribe.
type SubscribeOptions struct {
	// Name names a durable subscription, which belongs to the user and is kept
	// until it is deleted; if empty, the subscription ends when it is closed.
	Name string
	// Filter selects groups or operations.
	Filter Filter
	// Operations delivers operations, when they are complete, instead of groups. It needs
	// version 4 of the broker's interface.
	Operations bool
	// After is where a new subscription starts; empty for Newest. An existing
	// durable one continues from its position.
	After Cursor
	// Batch is the highest number of groups delivered at once, Window how long they
	// are collected; 0 selects the broker's defaults.
	Batch  int
	Window time.Duration
	// Acknowledge makes the broker wait for Acknowledge, however long that takes,
	// before it sends more than a window of groups. Without it a slow subscriber
	// skips forward.
	Acknowledge bool
}

// Batch is a set of groups delivered at once.
type Batch struct {
	// Groups match the filter and come in the order of the log.
	Groups []Group
	// Operations are delivered instead, in the order of their completion, with
	// SubscribeOptions.Operations.
	Operations []Operation
	// Cursor is the position after them.
	Cursor Cursor
	// Skipped reports skipped entries; the others are empty then.
	Skipped *Skipped
}

// Skipped reports entries that were skipped and will not be delivered. It is an
// error only where Groups of a Subscription yields it.
type Skipped struct {
	// From and To are the positions before and after.
	From, To Cursor
	// Entries is the number of entries of the log in between, whether or not they
	// match the filter.
	Entries uint64
	// Reason is "slow", "truncated", "corrupt", "state-lost" or "log-replaced"; see
	// docs/dbus-api.md.
	Reason string
}

func (s *Skipped) Error() string {
	return fmt.Sprintf("%d entries were skipped: %s", s.Entries, s.Reason)
}

// Subscription delivers groups as they are appended to the log, each at most once.
// It has a separate connection. After a restart of the broker or the bus it
// reconnects and resubscribes: an ephemeral subscription continues after the last
// delivered group, a durable one at the broker's position.
//
// Next, Batches and Groups must not be called concurrently; the other methods may.
type Subscription struct {
	client  *Client
	options SubscribeOptions
	attach  bool // to an existing one, whatever its filter
	queue   *delivery.Queue
	ctx     context.Context // done when the subscription is closed
	cancel  context.CancelFunc
	ended   chan struct{} // closed when the last goroutine has ended

	mu   sync.Mutex
	link *delivery.Link // nil without a connection
}

// Subscribe subscribes to groups. ctx applies to subscribing only; the subscription
// lasts until it is closed. Errors: ErrInvalidCursor, ErrForeignCursor,
// ErrInvalidFilter, ErrInvalidArgument, ErrLimitExceeded, ErrAccessDenied,
// ErrUnreachable; ErrSubscriptionExists if a durable subscription of the name
// exists with another filter or other options.
func (c *Client) Subscribe(ctx context.Context, options SubscribeOptions) (*Subscription, error) {
	s := newSubscription(c, options)
	if options.Name == "" && (options.After == "" || options.After == Newest) {
		// Use a position, so that nothing is skipped if the broker exits before it has
		// sent anything.
		newest, err := c.Newest(ctx)
		if err != nil {
			return nil, fmt.Errorf("cannot subscribe: %w", err)
		}
		s.options.After = newest.firm()
	}
	if err := s.begin(ctx); err != nil {
		return nil, fmt.Errorf("cannot subscribe: %w", err)
	}
	return s, nil
}

// Attach resumes an existing durable subscription, with its filter and options. Its
// previous receiver receives nothing more. Errors: ErrNoSuchSubscription,
// ErrAccessDenied, ErrUnreachable.
func (c *Client) Attach(ctx context.Context, name string) (*Subscription, error) {
	s := newSubscription(c, SubscribeOptions{Name: name})
	s.attach = true
	if err := s.begin(ctx); err != nil {
		return nil, fmt.Errorf("cannot attach to subscription %q: %w", name, err)
	}
	return s, nil
}

func newSubscription(c *Client, options SubscribeOptions) *Subscription {
	s := &Subscription{client: c, options: options, queue: delivery.NewQueue(), ended: make(chan struct{})}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// begin makes the first connection.
func (s *Subscription) begin(ctx context.Context) error {
	l, err := s.connect(ctx)
	if err != nil {
		s.cancel()
		return err
	}
	s.link = l
	go s.run(l)
	return nil
}

// run reconnects whenever the subscription was lost.
func (s *Subscription) run(l *delivery.Link) {
	defer close(s.ended)
	var pause backoff
	for {
		select {
		case <-l.Lost:
		case <-l.Conn.Context().Done():
		case <-s.ctx.Done():
		}
		s.setLink(nil)
		l.Close()
		for {
			if pause.wait(s.ctx) != nil {
				s.queue.End(ErrClosed)
				return
			}
			var err error
			if l, err = s.connect(s.ctx); err == nil {
				break
			}
			if !transient(err) {
				s.queue.End(fmt.Errorf("cannot continue the subscription: %w", err))
				return
			}
		}
		pause.reset()
		s.setLink(l)
	}
}

func (s *Subscription) setLink(l *delivery.Link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.link = l
}

// connect connects and subscribes.
func (s *Subscription) connect(ctx context.Context) (*delivery.Link, error) {
	l := delivery.NewLink(s.queue)
	conn, err := dial(ctx, s.client.address, dbus.WithSignalHandler(l))
	if err != nil {
		return nil, err
	}
	l.Conn = conn
	s.queue.During(func() {
		err = conn.AddMatchSignalContext(ctx, dbus.WithMatchSender("org.freedesktop.DBus"),
			dbus.WithMatchInterface("org.freedesktop.DBus"), dbus.WithMatchMember("NameOwnerChanged"),
			dbus.WithMatchArg(0, busName))
		if err = callError(err); err == nil {
			err = s.subscribe(ctx, l)
		}
	})
	if err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// subscribe creates or resumes the subscription on a connection.
func (s *Subscription) subscribe(ctx context.Context, l *delivery.Link) error {
	if s.options.Name == "" {
		if position := Cursor(s.queue.Position()); position != "" {
			return s.create(ctx, l, position)
		}
		return s.create(ctx, l, s.options.After)
	}
	path, err := s.find(ctx, l)
	switch {
	case err == nil && s.attach:
		l.Path = path
		_, err = s.call(ctx, l, path, subscriptionInterface+".Attach")
		return err
	case err == nil:
		// It exists already: an option "after" would be rejected.
		return s.create(ctx, l, "")
	case s.attach || !errors.Is(err, ErrNoSuchSubscription):
		return err
	}
	return s.create(ctx, l, s.options.After)
}

// find returns the object of the durable subscription.
func (s *Subscription) find(ctx context.Context, l *delivery.Link) (dbus.ObjectPath, error) {
	body, err := s.call(ctx, l, brokerPath, brokerInterface+".GetSubscription", s.options.Name)
	if err != nil {
		return "", err
	}
	var path dbus.ObjectPath
	return path, store("GetSubscription", body, &path)
}

func (s *Subscription) create(ctx context.Context, l *delivery.Link, after Cursor) error {
	options := map[string]dbus.Variant{}
	if after != "" {
		options["after"] = dbus.MakeVariant(string(after))
	}
	if s.options.Batch > 0 {
		options["batch"] = dbus.MakeVariant(uint32(s.options.Batch))
	}
	if s.options.Window > 0 {
		options["window-usec"] = dbus.MakeVariant(uint64(s.options.Window.Microseconds()))
	}
	if s.options.Acknowledge {
		options["flow"] = dbus.MakeVariant("acknowledge")
	}
	if s.options.Operations {
		options["form"] = dbus.MakeVariant("operations")
	}
	body, err := s.call(ctx, l, brokerPath, brokerInterface+".Subscribe",
		s.options.Name, s.options.Filter.encode(), options)
	if err != nil {
		return err
	}
	return store("Subscribe", body, &l.Path)
}

// call calls a method over a connection of the subscription and passes the time of
// the reply, in the order of messages, to the link.
func (s *Subscription) call(ctx context.Context, l *delivery.Link, path dbus.ObjectPath, method string, arguments ...any) ([]any, error) {
	answer := <-l.Conn.SendWithContext(ctx, newCall(s.client.interactive, path, method, arguments...), make(chan *dbus.Call, 1)).Done
	if answer.Err != nil {
		return nil, callError(answer.Err)
	}
	l.Established(answer.ResponseSequence)
	return answer.Body, nil
}

// callSubscription calls a method of the subscription's object.
func (s *Subscription) callSubscription(ctx context.Context, method string, arguments ...any) error {
	s.mu.Lock()
	l := s.link
	s.mu.Unlock()
	if l == nil {
		if s.ctx.Err() != nil {
			return ErrClosed
		}
		return fmt.Errorf("%w: it is being waited for", ErrUnreachable)
	}
	var err error
	s.queue.During(func() {
		_, err = call(ctx, l.Conn, s.client.interactive, l.Path, subscriptionInterface+"."+method, arguments...)
	})
	return err
}

// Next waits for the next batch and returns it. The error is the context's, or
// ErrClosed; any other error is the last: the subscription could not be resumed.
func (s *Subscription) Next(ctx context.Context) (Batch, error) {
	d, err := s.queue.Take(ctx)
	if err != nil {
		return Batch{}, err
	}
	if d.Skipped {
		var skipped Skipped
		if err := store("Skipped", d.Body, &skipped.From, &skipped.To, &skipped.Entries, &skipped.Reason); err != nil {
			return Batch{}, err
		}
		return Batch{Cursor: skipped.To, Skipped: &skipped}, nil
	}
	if d.Operations {
		operations, ok := operationsOf(d.Body[0], nil)
		if !ok {
			return Batch{}, fmt.Errorf("%w: operations of another form", ErrProtocol)
		}
		b := Batch{Operations: operations}
		return b, store("Operations", d.Body[1:], &b.Cursor)
	}
	groups, err := groupsOf(d.Body[0])
	if err != nil {
		return Batch{}, err
	}
	b := Batch{Groups: groups}
	return b, store("Events", d.Body[1:], &b.Cursor)
}

// Batches returns the batches as they arrive, until the subscription is closed. An
// error, including the error of the context, is the last.
func (s *Subscription) Batches(ctx context.Context) iter.Seq2[Batch, error] {
	return func(yield func(Batch, error) bool) {
		for {
			b, err := s.Next(ctx)
			if errors.Is(err, ErrClosed) || !yield(b, err) || err != nil {
				return
			}
		}
	}
}

// Groups returns the groups as they arrive, until the subscription is closed. Where
// entries were skipped, it yields a *Skipped and continues; any other error,
// including the error of the context, is the last. With
// SubscribeOptions.Acknowledge it acknowledges a batch after its last group was
// processed.
func (s *Subscription) Groups(ctx context.Context) iter.Seq2[Group, error] {
	return each(ctx, s, func(b *Batch) []Group { return b.Groups })
}

// Operations is Groups for a subscription with SubscribeOptions.Operations.
func (s *Subscription) Operations(ctx context.Context) iter.Seq2[Operation, error] {
	return each(ctx, s, func(b *Batch) []Operation { return b.Operations })
}

// each returns the elements of batches, one by one.
func each[T any](ctx context.Context, s *Subscription, elements func(*Batch) []T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		for b, err := range s.Batches(ctx) {
			if err == nil && b.Skipped != nil {
				if !yield(none, b.Skipped) {
					return
				}
				continue
			}
			if err != nil {
				yield(none, err)
				return
			}
			for _, element := range elements(&b) {
				if !yield(element, nil) {
					return
				}
			}
			if !s.options.Acknowledge {
				continue
			}
			// A failed acknowledgement is repeated with the next batch.
			if err := s.Acknowledge(ctx, b.Cursor); err != nil && !transient(err) && !errors.Is(err, ErrClosed) {
				yield(none, err)
				return
			}
		}
	}
}

// Acknowledge reports that everything up to the cursor of a batch was processed.
// The error is ErrUnreachable while the broker is unavailable; a later
// acknowledgement includes this one.
func (s *Subscription) Acknowledge(ctx context.Context, cursor Cursor) error {
	if err := s.callSubscription(ctx, "Acknowledge", string(cursor)); err != nil {
		return fmt.Errorf("cannot acknowledge: %w", err)
	}
	return nil
}

// Seek continues after another position: a cursor, Oldest or Newest. Seeking back
// delivers groups again. Groups in flight may still arrive first.
func (s *Subscription) Seek(ctx context.Context, cursor Cursor) error {
	if err := s.callSubscription(ctx, "Seek", string(cursor)); err != nil {
		return fmt.Errorf("cannot seek: %w", err)
	}
	s.queue.SetPosition(string(cursor))
	return nil
}

// Close ends the delivery. An ephemeral subscription ends; a durable one is kept
// and continues from its position when it is subscribed to again. Groups that were
// delivered but not taken are lost.
func (s *Subscription) Close() error {
	s.cancel()
	s.queue.End(ErrClosed)
	s.queue.Drop()
	s.mu.Lock()
	l := s.link
	s.mu.Unlock()
	if l != nil {
		l.Close()
	}
	<-s.ended
	return nil
}

// Delete deletes a durable subscription, or ends an ephemeral one, and closes it.
func (s *Subscription) Delete(ctx context.Context) error {
	err := s.callSubscription(ctx, "Close")
	if closeErr := s.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("cannot delete subscription: %w", err)
	}
	return nil
}

// SubscriptionInfo describes a subscription.
type SubscriptionInfo struct {
	// Name is empty for an ephemeral one.
	Name string
	// User is the owner's user ID.
	User uint32 `bus:"user"`
	// Attached reports whether a connection receives it.
	Attached bool `bus:"attached"`
	// Position is its cursor; Pending is the number of entries of the log after
	// it.
	Position Cursor `bus:"position"`
	Pending  uint64
	// Delivered is the number of groups sent, Skipped the number of entries
	// skipped.
	Delivered uint64
	Skipped   uint64 `bus:"skipped"`
	// Flow is "auto" or "acknowledge".
	Flow string `bus:"flow"`
	// Form is "groups" or "operations"; empty before version 4 of the interface.
	Form   string `bus:"form"`
	Filter Filter
	// Created is the time of creation, zero if unknown.
	Created time.Time `bus:"created"`

	path dbus.ObjectPath
}

// Subscriptions lists the subscriptions of the caller's user, or for root of all
// users.
func (c *Client) Subscriptions(ctx context.Context) ([]SubscriptionInfo, error) {
	var list []struct {
		Name               string
		Path               dbus.ObjectPath
		Delivered, Pending uint64
		Attributes         map[string]dbus.Variant
	}
	if err := c.query(ctx, brokerPath, brokerInterface+".ListSubscriptions", nil, &list); err != nil {
		return nil, fmt.Errorf("cannot list subscriptions: %w", err)
	}
	infos := make([]SubscriptionInfo, len(list))
	for i, l := range list {
		info := SubscriptionInfo{Name: l.Name, Delivered: l.Delivered, Pending: l.Pending, path: l.Path}
		if v, ok := l.Attributes["filter"]; ok {
			var filter map[string]dbus.Variant
			if err := v.Store(&filter); err != nil {
				return nil, fmt.Errorf("%w: filter: %w", ErrProtocol, err)
			}
			info.Filter = filterOf(filter)
		}
		if err := status.FromBus(l.Attributes, &info); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrProtocol, err)
		}
		infos[i] = info
	}
	return infos, nil
}

// DeleteSubscription deletes a durable subscription of the caller's user. The error
// is ErrNoSuchSubscription if it does not exist.
func (c *Client) DeleteSubscription(ctx context.Context, name string) error {
	var path dbus.ObjectPath
	err := c.query(ctx, brokerPath, brokerInterface+".GetSubscription", []any{name}, &path)
	if err == nil {
		_, err = c.call(ctx, path, subscriptionInterface+".Close")
	}
	if err != nil {
		return fmt.Errorf("cannot delete subscription %q: %w", name, err)
	}
	return nil
}

// End ends the subscription that info describes; a durable one is deleted. Root may
// end subscriptions of all users.
func (c *Client) End(ctx context.Context, info SubscriptionInfo) error {
	if _, err := c.call(ctx, info.path, subscriptionInterface+".Close"); err != nil {
		return fmt.Errorf("cannot end subscription %q: %w", info.Name, err)
	}
	return nil
}
