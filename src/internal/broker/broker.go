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
	"crypto-auditing/src/internal/broker/operations"
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
	// LogDir is the directory of the log, StateDir that of durable subscriptions.
	LogDir, StateDir string
	Registry         *schema.Registry
	// Encoder encodes groups for subscriptions.
	Encoder reading.Encoder
	// OperationEncoder encodes operations for subscriptions.
	OperationEncoder operations.Encoder
	// Agent performs what only the agent can do.
	Agent Agent
	// AgentUnit asks the service manager for the agent's state, because connecting
	// to a stopped agent would start it. nil if no service manager runs the agent:
	// the broker may then connect at any time.
	AgentUnit func(context.Context) AgentUnit
	// Policy is the default policy of Truncate.
	Policy retention.Policy
	Limits Limits
	// AnswerTime is how long a client may take to answer before the subscription
	// may skip forward.
	AnswerTime time.Duration
	// StateWait is how long New waits for another broker that is stopping.
	StateWait time.Duration
	// Appended, if set, is called after the log has grown, with the newest
	// position and the number of entries since the previous call. It must not
	// block.
	Appended func(newest logstore.Cursor, entries uint64)
	// Now is the clock of the policy, nil for the system's.
	Now func() time.Time

	Log *slog.Logger
}

// Limits bound the resources that callers can use.
type Limits struct {
	// UserSubscriptions is the highest number of subscriptions of a user,
	// Subscriptions of all users except root; half of these are reserved for the
	// group.
	UserSubscriptions, Subscriptions int
	// UserStreams is the highest number of open streams of a user, Streams of all
	// users except root; half of these are reserved for root and the group.
	UserStreams, Streams int
}

const (
	// BusBytes bounds the bytes of groups that a transport holds for clients that
	// have not read them yet, in total. dbus-daemon stops reading from a
	// connection once it holds 127 MiB from it.
	BusBytes = 32 << 20
	// maxWindow and minWindow bound the size of a window in bytes. A longer group
	// forms a window of its own.
	maxWindow = 64 << 10
	minWindow = 8 << 10
)

// Window returns the size of a window in bytes. Each subscription may have one
// window in flight, so that the windows of stopped clients leave room for all
// others.
func (l Limits) Window() int {
	return min(max(BusBytes/max(l.Subscriptions, 1), minWindow), maxWindow)
}

// DefaultLimits are the limits in the interface descriptions.
func DefaultLimits() Limits {
	return Limits{UserSubscriptions: 128, Subscriptions: 512, UserStreams: 16, Streams: 64}
}

// Broker serves subscriptions to one log, and its readers.
type Broker struct {
	options Options
	log     *slog.Logger
	source  *reading.Log
	tail    *tail.Tail
	notices *notices.Notices
	journal *journal.Journal
	core    *delivery.Core
	// operations reads the log as operations.
	operations *operations.Source
	follower   *operations.Follower
	started    time.Time
	agent      *agentLink
	// streams counts the open streams.
	streams *quota.Quota

	mu            sync.Mutex
	subscriptions map[uint64]*delivery.Subscription
	nextID        uint64
	// creating serialises the creation of subscriptions, so that limits and names
	// hold while the journal is written.
	creating  sync.Mutex
	handovers []journal.Handover
}

// New restores the state. Nothing runs before Run.
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
			User: o.Limits.UserStreams, Outsiders: max(1, o.Limits.Streams/2), Others: o.Limits.Streams,
		}),
		handovers: j.TakeHandovers(),
	}
	b.notices = notices.New(o.LogDir, b.source, o.Log)
	b.operations = &operations.Source{Registry: o.Registry, Log: b.source, Library: b.notices.Library, Now: o.Now}
	b.tail = tail.New(o.LogDir, b.source, o.Encoder, b.notices, b.grown, o.Log)
	b.follower = operations.NewFollower(b.operations, o.OperationEncoder, b.tail.Cache.Newest, o.Log)
	b.core = delivery.New(delivery.Options{
		Registry: o.Registry, Source: b.source, Tail: b.tail, Journal: j, Encoder: o.Encoder, Window: o.Limits.Window(),
		Operations: b.operations, Follower: b.follower, OperationEncoder: o.OperationEncoder,
		AnswerTime: o.AnswerTime, Forget: b.forget, Log: o.Log,
	})
	b.agent = newAgentLink(o.Agent, o.AgentUnit, b.tail, o.Log)
	for _, d := range j.Definitions() {
		s, err := b.core.Restore(d)
		if err != nil {
			// The registry has changed: a match of this filter is now invalid.
			o.Log.Error("a subscription can no longer be used", "name", d.Name, "user", d.User, "error", err)
			continue
		}
		if untrusted {
			s.Distrust()
		}
		b.subscriptions[s.ID()] = s
	}
	return b, nil
}

// Run reads the log until ctx is done. Then it ends all deliveries and saves their
// state. client returns the name of the connection that a sink sends to, so that
// the next broker can continue there; empty if it cannot.
func (b *Broker) Run(ctx context.Context, client func(delivery.Sink) string) error {
	var running sync.WaitGroup
	running.Go(func() { b.tail.Run(ctx) })
	running.Go(func() { b.follower.Run(ctx) })
	running.Go(func() { b.notices.Run(ctx) })
	running.Go(func() { b.agent.run(ctx) })
	<-ctx.Done()
	b.operations.Close()
	running.Wait()
	return b.end(client)
}

// Pause ends all deliveries. Subscriptions stay attached, so that the next broker
// resumes them.
func (b *Broker) Pause() {
	b.core.Pause()
	for _, s := range b.all() {
		s.Restart()
	}
}

// Limits returns the limits from the options.
func (b *Broker) Limits() Limits { return b.options.Limits }

// end saves the state.
func (b *Broker) end(client func(delivery.Sink) string) error {
	var now []journal.Definition
	var handovers []journal.Handover
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
			handovers = append(handovers, journal.Handover{Definition: d, Client: d.Client})
		}
	}
	return errors.Join(b.journal.Shutdown(now, handovers), b.journal.Close())
}

// Resume attaches subscriptions to the connections that the previous broker sent
// to, whether it stopped cleanly or not. sink returns nil for a connection that no
// longer exists. The ephemeral subscriptions of a broker that did not stop cleanly
// are lost.
func (b *Broker) Resume(sink func(s *delivery.Subscription, client string) delivery.Sink) {
	handovers := b.handovers
	b.handovers = nil
	for _, s := range b.all() {
		if d := s.Definition(); d.Client != "" {
			handovers = append(handovers, journal.Handover{Definition: d, Client: d.Client})
		}
	}
	for _, h := range handovers {
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

// maxName is the longest name of a subscription, in bytes.
const maxName = 64

// Subscribe creates a subscription for a caller's user, or returns the existing one
// with the same name, filter and options. It sends nothing before it is attached.
// Errors are those of filters and cursors, *fault.ArgumentError, fault.ErrExists,
// *fault.LimitError, *fault.StoreError, and others if the state cannot be written.
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
		ID: b.id(), Name: name, User: user, Outsider: caller.Rank == quota.Outsider, Filter: f, Batch: int(normal.Batch), Window: *normal.Window, Flow: string(normal.Flow), Form: string(normal.Form),
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
			return &fault.ArgumentError{Argument: "name", Problem: fmt.Sprintf("%q is not a valid name: use letters, digits, and . _ -", name)}
		}
	}
	return nil
}

// id returns a random number that no known subscription has.
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

// checkLimits returns an error if a caller may not have another subscription. It
// counts each time, because durable subscriptions come from the journal.
func (b *Broker) checkLimits(caller quota.Holder) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	limits := &b.options.Limits
	held := quota.New("subscriptions", quota.Limits{
		User: limits.UserSubscriptions, Outsiders: max(1, limits.Subscriptions/2), Others: limits.Subscriptions,
	})
	for _, s := range b.subscriptions {
		holder := quota.Holder{User: s.User(), Rank: quota.Member}
		switch {
		case s.User() == 0:
			holder.Rank = quota.Trusted
		case s.Outsider():
			holder.Rank = quota.Outsider
		}
		held.Add(holder)
	}
	if full := held.Take(caller); full != nil {
		return &fault.LimitError{Resource: full.Limit, Max: full.Max}
	}
	return nil
}

// Named returns a durable subscription of a user; the error is ErrNoSubscription.
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

// forget removes a subscription.
func (b *Broker) forget(s *delivery.Subscription) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.subscriptions, s.ID())
}

// Idle reports whether no subscription is attached and no stream is open.
func (b *Broker) Idle() bool {
	for _, s := range b.all() {
		if s.Sink() != nil {
			return false
		}
	}
	return b.streams.Held() == 0
}

// Read returns pages of the entries after a cursor, given as text. Errors are those
// of filters and cursors, and *fault.StoreError.
func (b *Broker) Read(_ quota.Holder, after string, f filter.Spec) (*reading.Pages, error) {
	return b.read(after, f, nil)
}

// ReadOperations reads a page of operations that match a filter and were completed after a cursor,
// given as text, or, newest first, before it; o has the other options. Errors are those of filters
// and cursors, *fault.StoreError and the error of ctx.
func (b *Broker) ReadOperations(ctx context.Context, after string, f filter.Spec, o operations.Options) (*operations.Page, error) {
	compiled, err := filter.Compile(b.options.Registry, f)
	if err != nil {
		return nil, err
	}
	o.Filter = compiled
	if o.After, err = b.source.Resolve(after); err != nil {
		return nil, err
	}
	return b.operations.Read(ctx, o)
}

func (b *Broker) read(after string, f filter.Spec, closed func()) (*reading.Pages, error) {
	compiled, err := filter.Compile(b.options.Registry, f)
	if err != nil {
		return nil, err
	}
	return b.source.Pages(compiled, after, closed)
}

// Open is Read for a long-lived stream: the number of streams is limited, and an
// open one keeps the broker running.
func (b *Broker) Open(caller quota.Holder, after string, f filter.Spec) (*reading.Pages, error) {
	release, err := b.Stream(caller)
	if err != nil {
		return nil, err
	}
	r, err := b.read(after, f, release)
	if err != nil {
		release()
		return nil, err
	}
	return r, nil
}

// Stream counts a stream of a caller until release is called. The error is a *fault.LimitError.
func (b *Broker) Stream(caller quota.Holder) (release func(), err error) {
	if full := b.streams.Take(caller); full != nil {
		return nil, &fault.LimitError{Resource: full.Limit, Max: full.Max}
	}
	return func() { b.streams.Release(caller) }, nil
}

// grown forwards the growth of the log.
func (b *Broker) grown(newest logstore.Cursor, entries uint64) {
	b.agent.noteGrowth()
	b.follower.Wake()
	if b.options.Appended != nil {
		b.options.Appended(newest, entries)
	}
}
