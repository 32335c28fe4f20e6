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
	"sync/atomic"
	"time"

	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/message"
	"crypto-auditing/src/internal/quota"
	"crypto-auditing/src/internal/schema"
)

// Options configure a Broker.
type Options struct {
	// LogDir is the log's folder, StateDir where durable subscriptions are kept.
	LogDir, StateDir string
	Registry         *schema.Registry
	// Form is the form in which subscriptions send groups.
	Form Form
	// Agent is asked for what only the agent can do.
	Agent Agent
	// AgentUnit asks the service manager for the agent's state. Connecting to
	// an agent that does not run would start it. nil: the agent is not the
	// service manager's, and may be connected to at any time.
	AgentUnit func(context.Context) AgentUnit
	// Policy is what Truncate applies unless told otherwise.
	Policy Policy
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
	// Subscriptions how many there are in all, except root's.
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
	live    *live
	tail    *tail
	health  *health
	notices *notices
	readers *readers
	journal *journal
	started time.Time
	agent   *agentLink
	// streams counts those that are open.
	streams *quota.Quota

	mu            sync.Mutex
	subscriptions map[uint64]*Subscription
	nextID        uint64
	// creating serialises the making of subscriptions, so that limits and names
	// hold while the journal is written.
	creating sync.Mutex
	left     []handover
	// paused keeps deliveries from sending.
	paused atomic.Bool
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
	j, untrusted, err := openJournal(o.StateDir, o.StateWait, o.Log)
	if err != nil {
		return nil, err
	}
	b := &Broker{
		options: o, log: o.Log, live: newLive(), health: newHealth(o.Log), journal: j, started: time.Now(),
		subscriptions: map[uint64]*Subscription{}, nextID: rand.Uint64() >> 1,
		streams: quota.New("open streams", quota.Limits{
			User: o.Limits.UserStreams, Strangers: max(1, o.Limits.Streams/2), Others: o.Limits.Streams,
		}),
		left: j.left,
	}
	b.notices = newNotices(o.LogDir, b.health, o.Log)
	b.readers = newReaders(o.LogDir, b.health)
	b.tail = &tail{
		dir: o.LogDir, health: b.health, notices: b.notices, form: o.Form, live: b.live, log: o.Log, pokes: make(chan struct{}, 1),
		grown: b.grown, replaced: func(logstore.Cursor) { b.wakeAll() },
	}
	b.agent = newAgentLink(o.Agent, o.AgentUnit, b.tail, o.Log)
	j.left = nil
	for _, d := range j.table {
		s, err := b.restore(*d)
		if err != nil {
			// The registry has changed such that a match is no longer one.
			o.Log.Error("a subscription is not usable any more", "name", d.Name, "user", d.User, "error", err)
			continue
		}
		s.untrusted = untrusted
		b.subscriptions[s.id] = s
	}
	// It looks at what comes from now on. A log that cannot be read yet is tried
	// again.
	b.tail.fail(b.tail.open())
	return b, nil
}

// Run reads the log until ctx is done. Then it ends all deliveries and writes
// down where they are. Client names the connection that a sink sends to, so
// that the next broker can go on sending there; empty: nobody can.
func (b *Broker) Run(ctx context.Context, client func(Sink) string) error {
	var running sync.WaitGroup
	running.Go(func() { b.tail.run(ctx) })
	running.Go(func() { b.notices.run(ctx) })
	running.Go(func() { b.agent.run(ctx) })
	<-ctx.Done()
	running.Wait()
	return b.end(client)
}

// Pause ends all deliveries for good. Subscriptions stay attached, so that the
// next broker resumes them.
func (b *Broker) Pause() {
	b.paused.Store(true)
	for _, s := range b.all() {
		s.control.Lock()
		if sink := s.halt(); sink != nil {
			s.start(sink)
		}
		s.control.Unlock()
	}
}

// Limits are those of the options.
func (b *Broker) Limits() Limits { return b.options.Limits }

// end writes down how things are.
func (b *Broker) end(client func(Sink) string) error {
	var now []definition
	var left []handover
	for _, s := range b.all() {
		s.control.Lock()
		sink := s.halt()
		s.control.Unlock()
		d := s.definition()
		d.Client = ""
		if sink != nil {
			d.Client = client(sink)
		}
		switch {
		case s.name != "":
			now = append(now, d)
		case d.Client != "":
			left = append(left, handover{Definition: d, Client: d.Client})
		}
	}
	return errors.Join(b.journal.leave(now, left), b.journal.close())
}

// Resume attaches subscriptions to the connections that the broker before was
// sending to, whether it ended in order or not: sink returns nil for a connection
// that has gone. A broker that did not end in order has forgotten ephemeral
// subscriptions.
func (b *Broker) Resume(sink func(s *Subscription, client string) Sink) {
	left := b.left
	b.left = nil
	for _, s := range b.all() {
		if s.client != "" {
			left = append(left, handover{Definition: s.definition(), Client: s.client})
		}
	}
	for _, h := range left {
		s := b.Find(h.Definition.ID)
		if s == nil && h.Definition.Name == "" {
			var err error
			if s, err = b.restore(h.Definition); err != nil {
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
		b.subscriptions[s.id] = s
		b.mu.Unlock()
		if err := s.Attach(to); err != nil {
			message.SubscriptionFailed.Log(b.log, "subscription", s.id, "error", err)
		}
	}
}

// definition is what there is to write down.
func (s *Subscription) definition() definition {
	s.mu.Lock()
	defer s.mu.Unlock()
	return definition{
		ID: s.id, Name: s.name, User: s.user, Filter: s.filter.spec, Batch: s.batch, Window: s.window, Flow: s.flow,
		Created: s.created.UnixNano(),
		Place:   place{Position: s.position, Delivered: s.delivered, Skipped: s.skipped},
		Client:  s.client,
	}
}

// restore makes a subscription of its definition.
func (b *Broker) restore(d definition) (*Subscription, error) {
	f, err := compile(b.options.Registry, d.Filter)
	if err != nil {
		return nil, err
	}
	return &Subscription{
		broker: b, id: d.ID, name: d.Name, user: d.User, filter: f, batch: d.Batch, window: d.Window, flow: d.Flow,
		created: time.Unix(0, d.Created), wakes: make(chan struct{}, 1),
		position: d.Place.Position, delivered: d.Place.Delivered, skipped: d.Place.Skipped, client: d.Client,
	}, nil
}

// maxName is how long the name of a subscription may be, in bytes.
const maxName = 64

// Subscribe makes a subscription for a user, or finds that of the same name,
// filter and options. It sends nothing before it is attached. The errors are
// those about filters and cursors, *ArgumentError, ErrExists, *LimitError,
// *StoreError, and others if the state cannot be written.
func (b *Broker) Subscribe(user uint32, name string, f Filter, o SubscribeOptions) (*Subscription, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	compiled, err := compile(b.options.Registry, f)
	if err != nil {
		return nil, err
	}
	normal, err := o.normal()
	if err != nil {
		return nil, err
	}
	b.creating.Lock()
	defer b.creating.Unlock()
	if name != "" {
		if s, err := b.Named(user, name); err == nil {
			if o.After != "" || !s.same(compiled, o) {
				return nil, fmt.Errorf("%w: %s", ErrExists, name)
			}
			return s, nil
		}
	}
	if err := b.checkLimits(user); err != nil {
		return nil, err
	}
	if o.After == "" {
		o.After = logstore.NewestWord
	}
	after, err := b.resolve(o.After)
	if err != nil {
		return nil, err
	}
	s, err := b.restore(definition{
		ID: b.id(), Name: name, User: user, Filter: f, Batch: int(normal.Batch), Window: *normal.Window, Flow: normal.Flow,
		Created: b.options.Now().UnixNano(), Place: place{Position: after},
	})
	if err != nil {
		return nil, err
	}
	if name != "" {
		if err := b.journal.define(s.definition()); err != nil {
			return nil, err
		}
	}
	b.mu.Lock()
	b.subscriptions[s.id] = s
	b.mu.Unlock()
	return s, nil
}

func checkName(name string) error {
	if len(name) > maxName {
		return &ArgumentError{"name", fmt.Sprintf("%d bytes are more than %d", len(name), maxName)}
	}
	for _, c := range name {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '_', c == '-':
		default:
			return &ArgumentError{"name", fmt.Sprintf("%q is none: it has letters, digits, and . _ -", name)}
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

func (b *Broker) checkLimits(user uint32) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	limits := &b.options.Limits
	if len(b.subscriptions) >= limits.Subscriptions && user != 0 {
		return &LimitError{"subscriptions in all", limits.Subscriptions}
	}
	n := 0
	for _, s := range b.subscriptions {
		if s.user == user {
			n++
		}
	}
	if n >= limits.UserSubscriptions {
		return &LimitError{"subscriptions of a user", limits.UserSubscriptions}
	}
	return nil
}

// Named finds a durable subscription of a user; the error is ErrNoSubscription.
func (b *Broker) Named(user uint32, name string) (*Subscription, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.subscriptions {
		if name != "" && s.name == name && s.user == user {
			return s, nil
		}
	}
	return nil, fmt.Errorf("%w: %q", ErrNoSubscription, name)
}

// Find returns the subscription with an id, nil if there is none.
func (b *Broker) Find(id uint64) *Subscription {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.subscriptions[id]
}

// Subscriptions returns all subscriptions, the oldest first.
func (b *Broker) Subscriptions() []*Subscription {
	all := b.all()
	slices.SortFunc(all, func(x, y *Subscription) int { return x.created.Compare(y.created) })
	return all
}

func (b *Broker) all() []*Subscription {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make([]*Subscription, 0, len(b.subscriptions))
	for _, s := range b.subscriptions {
		all = append(all, s)
	}
	return all
}

// forget takes a subscription out.
func (b *Broker) forget(s *Subscription) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.subscriptions, s.id)
}

func (b *Broker) wakeAll() {
	for _, s := range b.all() {
		s.wake()
	}
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

// grown passes on that the log has grown.
func (b *Broker) grown(newest logstore.Cursor, entries uint64) {
	b.agent.noteGrowth()
	if b.options.Appended != nil {
		b.options.Appended(newest, entries)
	}
}

// resolve turns the text of a cursor, or a word for an end, into a cursor of
// the log. The errors are logstore.ErrInvalidCursor and ErrForeignCursor, and
// *StoreError.
func (b *Broker) resolve(text string) (logstore.Cursor, error) {
	var cursor logstore.Cursor
	var err error
	word := text == logstore.OldestWord || text == logstore.NewestWord
	if !word {
		if cursor, err = logstore.ParseCursor(text); err != nil {
			return cursor, err
		}
	}
	r, err := openReader(b.options.LogDir, logstore.Query{})
	if err != nil {
		return cursor, err
	}
	defer r.Close()
	if !word && cursor == (logstore.Cursor{}) {
		cursor.Store = r.Store() // the beginning of what was empty
		text = cursor.String()
	}
	if word {
		if cursor, err = r.Resolve(text); err != nil {
			return cursor, &StoreError{err}
		}
		return cursor, nil
	}
	if _, err := r.Resolve(text); err != nil {
		return cursor, err
	}
	beyond, err := r.Beyond(cursor)
	if err != nil {
		return cursor, &StoreError{err}
	}
	if beyond {
		return cursor, fmt.Errorf("%w: %s lies behind the end of the log", logstore.ErrInvalidCursor, text)
	}
	return cursor, nil
}
