// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"cmp"
	"log/slog"
	"sync/atomic"
	"time"

	"crypto-auditing/src/internal/broker/filter"
	"crypto-auditing/src/internal/broker/journal"
	"crypto-auditing/src/internal/broker/operations"
	"crypto-auditing/src/internal/broker/reading"
	"crypto-auditing/src/internal/broker/tail"
	"crypto-auditing/src/internal/schema"
	"crypto-auditing/src/internal/wakeup"
)

// Options are the dependencies and limits of subscriptions.
type Options struct {
	Registry *schema.Registry
	Source   *reading.Log
	Tail     *tail.Tail
	Journal  *journal.Journal
	// Operations reads operations, Follower has the newest ones.
	Operations *operations.Source
	Follower   *operations.Follower
	// Encoder encodes groups, OperationEncoder operations; Window is the size of a window in bytes.
	Encoder          reading.Encoder
	OperationEncoder operations.Encoder
	Window           int
	// AnswerTime is how long a client may take to answer before the subscription
	// may skip forward.
	AnswerTime time.Duration
	// Forget is called after a subscription has ended.
	Forget func(*Subscription)
	Log    *slog.Logger
}

// Core is the state shared by all subscriptions.
type Core struct {
	Options
	readers *readers
	shared  shared
	// paused prevents deliveries from sending.
	paused atomic.Bool
}

// New returns a core without subscriptions.
func New(o Options) *Core { return &Core{Options: o, readers: newReaders(o.Source)} }

// Pause prevents deliveries that start from now on from sending.
func (c *Core) Pause() { c.paused.Store(true) }

// Restore creates a subscription from its definition. It sends nothing before it is
// attached. Errors are those of filters.
func (c *Core) Restore(d journal.Definition) (*Subscription, error) {
	f, err := filter.Compile(c.Registry, d.Filter)
	if err != nil {
		return nil, err
	}
	return &Subscription{
		core: c, id: d.ID, name: d.Name, user: d.User, outsider: d.Outsider, filter: f, batch: d.Batch, window: d.Window, flow: Flow(d.Flow), form: Form(cmp.Or(d.Form, string(Groups))),
		created: time.Unix(0, d.Created), wakes: wakeup.New(),
		position: d.Place.Position, delivered: d.Place.Delivered, skipped: d.Place.Skipped, client: d.Client,
	}, nil
}

// Definition returns the subscription as the journal stores it.
func (s *Subscription) Definition() journal.Definition {
	s.mu.Lock()
	defer s.mu.Unlock()
	return journal.Definition{
		ID: s.id, Name: s.name, User: s.user, Outsider: s.outsider, Filter: s.filter.Spec, Batch: s.batch, Window: s.window, Flow: string(s.flow), Form: s.form.stored(),
		Created: s.created.UnixNano(),
		Place:   journal.Place{Position: s.position, Delivered: s.delivered, Skipped: s.skipped},
		Client:  s.client,
	}
}

// Distrust records that more may have been sent than the position shows.
func (s *Subscription) Distrust() { s.untrusted = true }

// Halt ends the delivery and waits for its end. It returns the sink, nil if there
// was none.
func (s *Subscription) Halt() Sink {
	s.control.Lock()
	defer s.control.Unlock()
	return s.halt()
}

// Restart restarts the delivery, if there is one.
func (s *Subscription) Restart() {
	s.control.Lock()
	defer s.control.Unlock()
	if sink := s.halt(); sink != nil {
		s.start(sink)
	}
}
