// SPDX-License-Identifier: Apache-2.0

// Package delivery sends groups to subscribers, each at most once: the position
// after a window is in the journal, and synced, before the window is sent.
package delivery

import (
	"context"
	"fmt"
	"sync"
	"time"

	"crypto-auditing/src/internal/broker/fault"
	"crypto-auditing/src/internal/broker/filter"
	"crypto-auditing/src/internal/broker/journal"
	"crypto-auditing/src/internal/broker/reading"
	"crypto-auditing/src/internal/broker/tail"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/wakeup"
)

// Flow is the flow control of a subscription.
type Flow string

// The flows.
const (
	// Auto waits for the client to answer a ping after each window.
	Auto Flow = "auto"
	// Acknowledge waits for the client to acknowledge each window.
	Acknowledge Flow = "acknowledge"
)

// Form is the form of what a subscription delivers.
type Form string

// The forms.
const (
	Groups     Form = "groups"
	Operations Form = "operations"
)

// stored returns the form in the journal.
func (f Form) stored() string {
	if f == Groups {
		return ""
	}
	return string(f)
}

// Limits and defaults of the options of a subscription.
const (
	MaxBatch      = 1000
	DefaultBatch  = 500
	MaxWindow     = time.Minute
	DefaultWindow = 50 * time.Millisecond
)

// SubscribeOptions are the options of a subscription besides its filter. The zero
// value selects the defaults.
type SubscribeOptions struct {
	// After is the text of the cursor after which it starts; the default is newest.
	After string
	// Batch is the highest number of groups in a window.
	Batch uint32
	// Window is how long groups are collected; nil selects the default.
	Window *time.Duration
	Flow   Flow
	Form   Form
}

// Sink is the destination of a subscription: one connection of a client. Only
// Reserve and Ping may wait for clients.
type Sink interface {
	// Reserve waits until there is room for the given number of bytes of groups,
	// which the next call of Events sends, or returns the error of ctx. It
	// releases an earlier unused reservation.
	Reserve(ctx context.Context, bytes int) error
	// Events sends groups in the form of the broker's transport. cursor is the
	// position after them. groups may not be retained.
	Events(groups []byte, count int, cursor logstore.Cursor) error
	// Operations is Events for operations.
	Operations(operations []byte, count int, cursor logstore.Cursor) error
	// Skipped reports entries that were skipped.
	Skipped(*reading.Gap) error
	// Ping returns when the client has answered, having read everything sent
	// before, or when waiting is pointless.
	Ping(context.Context) error
}

// Subscription is a filter on the log with a client's position.
type Subscription struct {
	core *Core
	id   uint64
	// name is empty for an ephemeral subscription.
	name string
	user uint32
	// outsider reports that the user was outside the group at creation.
	outsider bool
	filter   *filter.Filter
	batch    int
	window   time.Duration
	flow     Flow
	form     Form
	created  time.Time
	wakes    wakeup.Signal

	// control is held while a delivery is started or ended; it is locked before mu.
	control sync.Mutex

	mu sync.Mutex
	// position is the end of what was sent or skipped. For a durable subscription
	// it is the journal's value, or nothing was sent since.
	position           logstore.Cursor
	delivered, skipped uint64
	// acknowledged is the end of what the client has acknowledged.
	acknowledged uint64
	// untrusted is set if more may have been sent than position shows.
	untrusted bool
	// client is the connection that a durable subscription was last attached to,
	// according to the journal.
	client  string
	current *delivery
	closed  bool
}

// delivery is the goroutine that sends to a sink.
type delivery struct {
	sink   Sink
	feed   *tail.Feed
	cancel context.CancelFunc
	done   chan struct{}
	// failed is set once it has ended because sending failed.
	failed bool
}

// ID identifies the subscription; for an ephemeral one until the broker exits.
func (s *Subscription) ID() uint64 { return s.id }

// Name is empty for an ephemeral subscription.
func (s *Subscription) Name() string { return s.name }

// User is the owner.
func (s *Subscription) User() uint32 { return s.user }

// Outsider reports whether the user was outside the group at creation.
func (s *Subscription) Outsider() bool { return s.outsider }

// Created is the time of creation.
func (s *Subscription) Created() time.Time { return s.created }

// Filter is the filter as given by the client.
func (s *Subscription) Filter() filter.Spec { return s.filter.Spec }

// Flow is the flow control.
func (s *Subscription) Flow() Flow { return s.flow }

// Form is the form of what is delivered.
func (s *Subscription) Form() Form { return s.form }

// cache has the newest groups or operations.
func (s *Subscription) cache() *tail.Cache {
	if s.form == Operations {
		return s.core.Follower.Cache
	}
	return s.core.Tail.Cache
}

// SubscriptionStatus is the variable state of a subscription.
type SubscriptionStatus struct {
	// Position is the end of what was sent or skipped.
	Position logstore.Cursor
	// Delivered counts groups, Skipped entries; Pending is the number of entries
	// of the log still to be searched.
	Delivered, Skipped, Pending uint64
	Attached                    bool
	Created                     time.Time
}

// Status returns the current state.
func (s *Subscription) Status() SubscriptionStatus {
	newest, _ := s.core.Tail.Cache.Newest()
	s.mu.Lock()
	defer s.mu.Unlock()
	position := s.settled()
	status := SubscriptionStatus{
		Position: position, Delivered: s.delivered, Skipped: s.skipped,
		Attached: s.current != nil && !s.current.failed, Created: s.created,
	}
	if newest.Store == position.Store {
		status.Pending = reading.Between(position.Sequence, newest.Sequence)
	}
	return status
}

// settled is the position, advanced past entries that are known not to match. The
// caller holds mu.
func (s *Subscription) settled() logstore.Cursor {
	if s.current == nil {
		return s.position
	}
	return s.cache().Settled(s.current.feed, s.position)
}

// Wake triggers a search for groups.
func (s *Subscription) Wake() { s.wakes.Notify() }

// Same reports whether it was created with that filter and these options.
func (s *Subscription) Same(f *filter.Filter, o SubscribeOptions) bool {
	n, err := o.Normal()
	return err == nil && s.filter.Key == f.Key && s.batch == int(n.Batch) && s.window == *n.Window && s.flow == n.Flow && s.form == n.Form
}

// Normal fills in the defaults and checks the limits. The error is a
// *fault.ArgumentError.
func (o SubscribeOptions) Normal() (SubscribeOptions, error) {
	if o.Batch == 0 {
		o.Batch = DefaultBatch
	}
	if o.Batch > MaxBatch {
		return o, &fault.ArgumentError{Argument: "batch", Problem: fmt.Sprintf("%d is above %d", o.Batch, MaxBatch)}
	}
	if o.Window == nil {
		window := DefaultWindow
		o.Window = &window
	}
	if *o.Window < 0 || *o.Window > MaxWindow {
		return o, &fault.ArgumentError{Argument: "window-usec", Problem: fmt.Sprintf("%v is above %v", *o.Window, MaxWindow)}
	}
	switch o.Flow {
	case "":
		o.Flow = Auto
	case Auto, Acknowledge:
	default:
		return o, &fault.ArgumentError{Argument: "flow", Problem: fmt.Sprintf("%q is neither %s nor %s", o.Flow, Auto, Acknowledge)}
	}
	switch o.Form {
	case "":
		o.Form = Groups
	case Groups, Operations:
	default:
		return o, &fault.ArgumentError{Argument: "form", Problem: fmt.Sprintf("%q is neither %s nor %s", o.Form, Groups, Operations)}
	}
	return o, nil
}

// Attach starts sending to a sink instead of the previous one. It returns when
// nothing is in flight to the previous one.
func (s *Subscription) Attach(sink Sink) error {
	s.control.Lock()
	defer s.control.Unlock()
	if s.isClosed() {
		return fault.ErrNoSubscription
	}
	s.halt()
	s.start(sink)
	return nil
}

func (s *Subscription) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// start starts a delivery. The caller holds control; nothing is in flight.
func (s *Subscription) start(sink Sink) {
	ctx, cancel := context.WithCancel(context.Background())
	d := &delivery{sink: sink, cancel: cancel, done: make(chan struct{})}
	if s.core.paused.Load() {
		cancel()
		close(d.done)
		s.mu.Lock()
		s.current = d
		s.mu.Unlock()
		return
	}
	d.feed = s.cache().Join(s, s.filter)
	s.mu.Lock()
	s.current = d
	s.acknowledged = s.position.Sequence
	s.mu.Unlock()
	if s.form == Operations {
		s.core.Follower.Wake()
	} else {
		s.core.Tail.Wake()
	}
	go s.deliver(ctx, d)
}

// halt ends the delivery and waits for its end. It returns the sink, nil if there
// was none. The caller holds control.
func (s *Subscription) halt() Sink {
	s.mu.Lock()
	d := s.current
	s.mu.Unlock()
	if d == nil {
		return nil
	}
	d.cancel()
	<-d.done
	s.mu.Lock()
	defer s.mu.Unlock()
	s.position = s.settled()
	s.current = nil
	if d.failed {
		return nil
	}
	return d.sink
}

// Assign records in the journal that a durable subscription will be attached to a
// connection, named by the transport, so that the next broker finds it.
func (s *Subscription) Assign(client string) error {
	s.control.Lock()
	defer s.control.Unlock()
	if s.name == "" || s.isClosed() {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client == client {
		return nil
	}
	if err := s.core.Journal.Assign(s.id, journal.Place{Position: s.position, Delivered: s.delivered, Skipped: s.skipped}, client); err != nil {
		return err
	}
	s.client = client
	return nil
}

// Detach stops sending to a sink whose client has disconnected, if it is the
// current one. An ephemeral subscription ends.
func (s *Subscription) Detach(sink Sink) {
	s.control.Lock()
	defer s.control.Unlock()
	if s.Sink() != sink {
		return
	}
	s.halt()
	if s.name == "" {
		s.end()
	}
}

// end removes the subscription from the broker.
func (s *Subscription) end() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.core.Forget(s)
}

// Sink returns the current sink, nil if it is not attached.
func (s *Subscription) Sink() Sink {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil {
		return nil
	}
	return s.current.sink
}

// Close ends the subscription; a durable one is deleted.
func (s *Subscription) Close() error {
	s.control.Lock()
	defer s.control.Unlock()
	if s.isClosed() {
		return fault.ErrNoSubscription
	}
	sink := s.halt()
	if s.name != "" {
		if err := s.core.Journal.Remove(s.id); err != nil {
			if sink != nil {
				s.start(sink)
			}
			return err
		}
	}
	s.end()
	return nil
}

// Acknowledge records that the client has processed everything up to a cursor.
func (s *Subscription) Acknowledge(text string) error {
	cursor, err := logstore.ParseCursor(text)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fault.ErrNoSubscription
	}
	if cursor.Store != s.position.Store {
		return fmt.Errorf("%w: %s", logstore.ErrForeignCursor, text)
	}
	if cursor.Sequence > s.position.Sequence {
		return fmt.Errorf("%w: nothing was sent up to %s", logstore.ErrInvalidCursor, text)
	}
	s.acknowledged = max(s.acknowledged, cursor.Sequence)
	s.Wake()
	return nil
}

// Seek continues after a cursor, or at one of the words for the ends.
func (s *Subscription) Seek(text string) error {
	cursor, err := s.core.Source.Resolve(text)
	if err != nil {
		return err
	}
	s.control.Lock()
	defer s.control.Unlock()
	if s.isClosed() {
		return fault.ErrNoSubscription
	}
	sink := s.halt()
	s.mu.Lock()
	if err = s.move(cursor, 0, 0); err == nil {
		s.position, s.untrusted = cursor, false
	}
	s.mu.Unlock()
	if sink != nil {
		s.start(sink)
	}
	return err
}

// move records in the journal that groups up to a position are about to be sent, or
// entries to be skipped.
func (s *Subscription) move(to logstore.Cursor, delivered, skipped uint64) error {
	if s.name == "" {
		return nil
	}
	return s.core.Journal.Move(s.id, journal.Place{
		Position: to, Delivered: s.delivered + delivered, Skipped: s.skipped + skipped,
	})
}
