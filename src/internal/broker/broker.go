// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"crypto-auditing/src/internal/broker/delivery"
	"crypto-auditing/src/internal/broker/fault"
	"crypto-auditing/src/internal/broker/filter"
	"crypto-auditing/src/internal/broker/journal"
	"crypto-auditing/src/internal/broker/notices"
	"crypto-auditing/src/internal/broker/reading"
	"crypto-auditing/src/internal/broker/tail"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/message"
	"crypto-auditing/src/internal/quota"
	"crypto-auditing/src/internal/retention"
	"crypto-auditing/src/internal/schema"
)

// Options configure a Broker.
type Options struct {
	// LogDir is the log's folder, StateDir where durable subscriptions are kept.
	LogDir, StateDir string
	Registry         *schema.Registry
	// Form is the form in which subscriptions send groups.
	Form reading.Form
	// Agent is asked for what only the agent can do.
	Agent Agent
	// AgentUnit asks the service manager for the agent's state. Connecting to
	// an agent that does not run would start it. nil: the agent is not the
	// service manager's, and may be connected to at any time.
	AgentUnit func(context.Context) AgentUnit
	// Policy is what Truncate applies unless told otherwise.
	Policy retention.Policy
	Limits Limits
	// AnswerTime is how long a client may take to answer before it may be
	// skipped forward.
	AnswerTime time.Duration
	// StateWait is how long to wait for another broker that leaves.
	StateWait time.Duration
	// Appended, if set, is called when the log has grown: with the newest
	// position and the number of entries since the call before. It must not
	// wait.
	Appended func(newest logstore.Cursor, entries uint64)
	// Now is the clock of the policy; nil is the system's.
	Now func() time.Time

	Log *slog.Logger
}

// Limits bound what callers can make the broker hold.
type Limits struct {
	// UserSubscriptions is how many subscriptions a user may have,
	// Subscriptions how many there are in all, except root's; half of these are
	// for the group.
	UserSubscriptions, Subscriptions int
	// UserStreams is how many streams of a user may be open, Streams how many
	// of all, except root's; half of these are for root and the group.
	UserStreams, Streams int
}

const (
	// BusBytes is how many bytes of groups a transport holds for clients that
	// have not read them yet, in all. dbus-daemon stops reading from a connection
	// when it holds 127 MiB that came from there.
	BusBytes = 32 << 20
	// maxWindow and minWindow bound the size of a window in bytes. A group that
	// is longer is a window of its own.
	maxWindow = 64 << 10
	minWindow = 8 << 10
)

// Window returns how many bytes of groups are sent at once. Each subscription may
// have one window under way, so that those of clients which have stopped leave
// room for all others.
func (l Limits) Window() int {
	return min(max(BusBytes/max(l.Subscriptions, 1), minWindow), maxWindow)
}

// DefaultLimits are those that the interface descriptions state.
func DefaultLimits() Limits {
	return Limits{UserSubscriptions: 128, Subscriptions: 512, UserStreams: 16, Streams: 64}
}

// Broker serves subscriptions and readers of one log.
type Broker struct {
	options Options
	log     *slog.Logger
	source  *reading.Log
	tail    *tail.Tail
	notices *notices.Notices
	journal *journal.Journal
	core    *delivery.Core
	started time.Time
	agent   *agentLink
	// streams counts those that are open.
	streams *quota.Quota

	mu            sync.Mutex
	subscriptions map[uint64]*delivery.Subscription
	nextID        uint64
	// creating serialises the making of subscriptions, so that limits and names
	// hold while the journal is written.
	creating sync.Mutex
	left     []journal.Handover
}

// New opens the state. Nothing runs before Run.
func New(o Options) (*Broker, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Limits == (Limits{}) {
		o.Limits = DefaultLimits()
	}
	if o.AnswerTime == 0 {
		o.AnswerTime = 5 * time.Second
	}
	j, untrusted, err := journal.Open(o.StateDir, o.StateWait, o.Log)
	if err != nil {
		return nil, err
	}
	b := &Broker{
		options: o, log: o.Log, source: reading.NewLog(o.LogDir, o.Log), journal: j, started: time.Now(),
		subscriptions: map[uint64]*delivery.Subscription{}, nextID: rand.Uint64() >> 1,
		streams: quota.New("open streams", quota.Limits{
			User: o.Limits.UserStreams, Strangers: max(1, o.Limits.Streams/2), Others: o.Limits.Streams,
		}),
		left: j.TakeLeft(),
	}
	b.notices = notices.New(o.LogDir, b.source, o.Log)
	b.tail = tail.New(o.LogDir, b.source, o.Form, b.notices, b.grown, o.Log)
	b.core = delivery.New(delivery.Options{
		Registry: o.Registry, Source: b.source, Tail: b.tail, Journal: j, Form: o.Form, Window: o.Limits.Window(),
		AnswerTime: o.AnswerTime, Forget: b.forget, Log: o.Log,
	})
	b.agent = newAgentLink(o.Agent, o.AgentUnit, b.tail, o.Log)
	for _, d := range j.Definitions() {
		s, err := b.core.Restore(d)
		if err != nil {
			// The registry has changed such that a match is no longer one.
			o.Log.Error("a subscription is not usable any more", "name", d.Name, "user", d.User, "error", err)
			continue
		}
		if untrusted {
			s.Distrust()
		}
		b.subscriptions[s.ID()] = s
	}
	return b, nil
}

// Run reads the log until ctx is done. Then it ends all deliveries and writes
// down where they are. Client names the connection that a sink sends to, so
// that the next broker can go on sending there; empty: nobody can.
func (b *Broker) Run(ctx context.Context, client func(delivery.Sink) string) error {
	var running sync.WaitGroup
	running.Go(func() { b.tail.Run(ctx) })
	running.Go(func() { b.notices.Run(ctx) })
	running.Go(func() { b.agent.run(ctx) })
	<-ctx.Done()
	running.Wait()
	return b.end(client)
}

// Pause ends all deliveries for good. Subscriptions stay attached, so that the
// next broker resumes them.
func (b *Broker) Pause() {
	b.core.Pause()
	for _, s := range b.all() {
		s.Restart()
	}
}

// Limits are those of the options.
func (b *Broker) Limits() Limits { return b.options.Limits }

// end writes down how things are.
func (b *Broker) end(client func(delivery.Sink) string) error {
	var now []journal.Definition
	var left []journal.Handover
	for _, s := range b.all() {
		sink := s.Halt()
		d := s.Definition()
		d.Client = ""
		if sink != nil {
			d.Client = client(sink)
		}
		switch {
		case d.Name != "":
			now = append(now, d)
		case d.Client != "":
			left = append(left, journal.Handover{Definition: d, Client: d.Client})
		}
	}
	return errors.Join(b.journal.Leave(now, left), b.journal.Close())
}

// Resume attaches subscriptions to the connections that the broker before was
// sending to, whether it ended in order or not: sink returns nil for a connection
// that has gone. A broker that did not end in order has forgotten ephemeral
// subscriptions.
func (b *Broker) Resume(sink func(s *delivery.Subscription, client string) delivery.Sink) {
	left := b.left
	b.left = nil
	for _, s := range b.all() {
		if d := s.Definition(); d.Client != "" {
			left = append(left, journal.Handover{Definition: d, Client: d.Client})
		}
	}
	for _, h := range left {
		s := b.Find(h.Definition.ID)
		if s == nil && h.Definition.Name == "" {
			var err error
			if s, err = b.core.Restore(h.Definition); err != nil {
				continue
			}
		}
		if s == nil || s.Sink() != nil {
			continue
		}
		to := sink(s, h.Client)
		if to == nil {
			continue
		}
		b.mu.Lock()
		b.subscriptions[s.ID()] = s
		b.mu.Unlock()
		if err := s.Attach(to); err != nil {
			message.SubscriptionFailed.Log(b.log, "subscription", s.ID(), "error", err)
		}
	}
}

// maxName is how long the name of a subscription may be, in bytes.
const maxName = 64

// Subscribe makes a subscription for a caller's user, or finds that of the same name,
// filter and options. It sends nothing before it is attached. The errors are
// those about filters and cursors, *fault.ArgumentError, fault.ErrExists, *fault.LimitError,
// *fault.StoreError, and others if the state cannot be written.
func (b *Broker) Subscribe(caller quota.Holder, name string, f filter.Spec, o delivery.SubscribeOptions) (*delivery.Subscription, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	compiled, err := filter.Compile(b.options.Registry, f)
	if err != nil {
		return nil, err
	}
	normal, err := o.Normal()
	if err != nil {
		return nil, err
	}
	user := caller.User
	b.creating.Lock()
	defer b.creating.Unlock()
	if name != "" {
		if s, err := b.Named(user, name); err == nil {
			if o.After != "" || !s.Same(compiled, o) {
				return nil, fmt.Errorf("%w: %s", fault.ErrExists, name)
			}
			return s, nil
		}
	}
	if err := b.checkLimits(caller); err != nil {
		return nil, err
	}
	if o.After == "" {
		o.After = logstore.NewestWord
	}
	after, err := b.source.Resolve(o.After)
	if err != nil {
		return nil, err
	}
	s, err := b.core.Restore(journal.Definition{
		ID: b.id(), Name: name, User: user, Stranger: caller.Rank == quota.Stranger, Filter: f, Batch: int(normal.Batch), Window: *normal.Window, Flow: string(normal.Flow),
		Created: b.options.Now().UnixNano(), Place: journal.Place{Position: after},
	})
	if err != nil {
		return nil, err
	}
	if name != "" {
		if err := b.journal.Define(s.Definition()); err != nil {
			return nil, err
		}
	}
	b.mu.Lock()
	b.subscriptions[s.ID()] = s
	b.mu.Unlock()
	return s, nil
}

func checkName(name string) error {
	if len(name) > maxName {
		return &fault.ArgumentError{Argument: "name", Problem: fmt.Sprintf("%d bytes are more than %d", len(name), maxName)}
	}
	for _, c := range name {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '_', c == '-':
		default:
			return &fault.ArgumentError{Argument: "name", Problem: fmt.Sprintf("%q is none: it has letters, digits, and . _ -", name)}
		}
	}
	return nil
}

// id returns a number that no subscription has had, as far as one can tell.
func (b *Broker) id() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		b.nextID++
		if b.subscriptions[b.nextID] == nil {
			return b.nextID
		}
	}
}

// checkLimits returns an error if a caller may have no further subscription. They are
// counted each time: durable ones come and go with their users, or with the journal.
func (b *Broker) checkLimits(caller quota.Holder) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	limits := &b.options.Limits
	held := quota.New("subscriptions", quota.Limits{
		User: limits.UserSubscriptions, Strangers: max(1, limits.Subscriptions/2), Others: limits.Subscriptions,
	})
	for _, s := range b.subscriptions {
		holder := quota.Holder{User: s.User(), Rank: quota.Member}
		switch {
		case s.User() == 0:
			holder.Rank = quota.Trusted
		case s.Stranger():
			holder.Rank = quota.Stranger
		}
		held.Add(holder)
	}
	if full := held.Take(caller); full != nil {
		return &fault.LimitError{What: full.Limit, Max: full.Max}
	}
	return nil
}

// Named finds a durable subscription of a user; the error is ErrNoSubscription.
func (b *Broker) Named(user uint32, name string) (*delivery.Subscription, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.subscriptions {
		if name != "" && s.Name() == name && s.User() == user {
			return s, nil
		}
	}
	return nil, fmt.Errorf("%w: %q", fault.ErrNoSubscription, name)
}

// Find returns the subscription with an id, nil if there is none.
func (b *Broker) Find(id uint64) *delivery.Subscription {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.subscriptions[id]
}

// Subscriptions returns all subscriptions, the oldest first.
func (b *Broker) Subscriptions() []*delivery.Subscription {
	all := b.all()
	slices.SortFunc(all, func(x, y *delivery.Subscription) int { return x.Created().Compare(y.Created()) })
	return all
}

func (b *Broker) all() []*delivery.Subscription {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make([]*delivery.Subscription, 0, len(b.subscriptions))
	for _, s := range b.subscriptions {
		all = append(all, s)
	}
	return all
}

// forget takes a subscription out.
func (b *Broker) forget(s *delivery.Subscription) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.subscriptions, s.ID())
}

// Idle reports whether nobody is served: no subscription is attached, and no
// stream open.
func (b *Broker) Idle() bool {
	for _, s := range b.all() {
		if s.Sink() != nil {
			return false
		}
	}
	return b.streams.Held() == 0
}

// Read begins to read behind a cursor, given as text. The errors are those
// about filters and cursors, and *fault.StoreError.
func (b *Broker) Read(_ quota.Holder, after string, f filter.Spec) (*reading.Pages, error) {
	return b.read(after, f, nil)
}

func (b *Broker) read(after string, f filter.Spec, closed func()) (*reading.Pages, error) {
	compiled, err := filter.Compile(b.options.Registry, f)
	if err != nil {
		return nil, err
	}
	return b.source.Pages(compiled, after, closed)
}

// Open begins to read as Read does, for a stream that lasts: their number is
// limited, and an open one keeps the broker running.
func (b *Broker) Open(caller quota.Holder, after string, f filter.Spec) (*reading.Pages, error) {
	if full := b.streams.Take(caller); full != nil {
		return nil, &fault.LimitError{What: full.Limit, Max: full.Max}
	}
	r, err := b.read(after, f, func() { b.streams.Release(caller) })
	if err != nil {
		b.streams.Release(caller)
		return nil, err
	}
	return r, nil
}

// grown passes on that the log has grown.
func (b *Broker) grown(newest logstore.Cursor, entries uint64) {
	b.agent.noteGrowth()
	if b.options.Appended != nil {
		b.options.Appended(newest, entries)
	}
}
