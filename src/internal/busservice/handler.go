// SPDX-License-Identifier: Apache-2.0

package busservice

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"

	"crypto-auditing/src/internal/broker/delivery"
	"crypto-auditing/src/internal/broker/fault"
	"crypto-auditing/src/internal/broker/reading"
	"crypto-auditing/src/internal/busservice/transport"
	"crypto-auditing/src/internal/quota"
)

// call is a method call.
type call struct {
	ctx     context.Context
	service *Service
	message *dbus.Message
	sender  string
	path    dbus.ObjectPath
	who     caller
	// known says that who is, and that the call counts as one of that user's.
	known bool
	// room is how many bytes are reserved for the reply.
	room int
	// one is the subscription whose object was called.
	one *delivery.Subscription
	// after are called once the reply has left, in the order in which they were
	// added.
	after []func()
}

// interactive says that the caller can be asked for a password.
func (c *call) interactive() bool {
	return c.message.Flags&dbus.FlagAllowInteractiveAuthorization != 0
}

// authorise returns nil if the caller may do what an action is about.
func (c *call) authorise(action string) error {
	return c.service.access.check(c.ctx, c.who, c.sender, action, c.interactive())
}

// arguments stores the arguments of the call, which must be of these types.
func (c *call) arguments(targets ...any) error {
	if err := dbus.Store(c.message.Body, targets...); err != nil {
		return invalid("the arguments are of other types")
	}
	return nil
}

// method serves a method: its arguments have the signature in.
type method struct {
	in    string
	serve func(*call) ([]any, error)
}

// maxCalls is how many calls of one connection are served at the same time,
// userCalls those of one user, strangerCalls those of all who are neither root nor
// in the group, and allCalls those of all but root.
const (
	maxCalls      = 64
	userCalls     = 256
	strangerCalls = 512
	allCalls      = 1024
)

// inbox counts the calls that are being served.
type inbox struct {
	mu      sync.Mutex
	senders map[string]int
	all     int
	// open counts those of each connection that no reply was sent to.
	open map[string]int
	// admitted counts those that were admitted.
	admitted *quota.Quota
	// empty is closed when all is 0; nil if nobody waits for that.
	empty chan struct{}
	// seen counts calls.
	seen uint64
	// closed says that no more are served.
	closed bool
}

func newInbox() *inbox {
	return &inbox{senders: map[string]int{}, open: map[string]int{}, admitted: quota.New("calls", quota.Limits{
		User: userCalls, Strangers: strangerCalls, Others: allCalls,
	})}
}

// received is told of every message in the order of the bus.
func (b *inbox) received(m *dbus.Message) {
	if !served(m) {
		return
	}
	sender, _ := m.Headers[dbus.FieldSender].Value().(string)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all++
	b.senders[sender]++
	b.open[sender]++
	b.seen++
}

// replying notes that a reply to a connection is about to be sent.
func (b *inbox) replying(sender string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open[sender]--; b.open[sender] == 0 {
		delete(b.open, sender)
	}
}

// alone reports whether a connection has one open call: it has waited for the
// replies to others.
func (b *inbox) alone(sender string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.open[sender] == 1
}

// served reports whether a message comes to us: godbus serves Peer.
func served(m *dbus.Message) bool {
	iface, _ := m.Headers[dbus.FieldInterface].Value().(string)
	return m.Type == dbus.TypeMethodCall && iface != "org.freedesktop.DBus.Peer"
}

// admit returns nil if a call of a connection is to be served.
func (b *inbox) admit(sender string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.closed:
		return errLeaving()
	case b.senders[sender] > maxCalls:
		return &failure{errorLimits, "too many calls at the same time"}
	}
	return nil
}

// enter returns nil if a call of a connection of a user is to be served; leave
// ends it. The only open call of a connection need not wait for those of its
// user's other ones.
func (b *inbox) enter(sender string, h quota.Holder) error {
	take := b.admitted.Take
	if b.alone(sender) {
		take = b.admitted.TakeAny
	}
	if take(h) != nil {
		return &failure{errorLimits, "too many calls at the same time"}
	}
	return nil
}

// leave ends what enter began.
func (b *inbox) leave(h quota.Holder) { b.admitted.Release(h) }

// errLeaving tells a caller who has come too late; calling again starts the
// next broker.
func errLeaving() error {
	return &failure{errorServiceUnknown, "the broker is leaving: call again"}
}

// answered says that a call is done.
func (b *inbox) answered(sender string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all--
	if b.senders[sender]--; b.senders[sender] == 0 {
		delete(b.senders, sender)
	}
	if b.all == 0 && b.empty != nil {
		close(b.empty)
		b.empty = nil
	}
}

// drain waits until no call is being served, and closes the inbox.
func (b *inbox) drain(ctx context.Context) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.all > 0 && ctx.Err() == nil {
		if b.empty == nil {
			b.empty = make(chan struct{})
		}
		empty := b.empty
		b.mu.Unlock()
		select {
		case <-empty:
		case <-ctx.Done():
		}
		b.mu.Lock()
	}
	b.closed = true
}

// count returns how many calls came, and how many are being served.
func (b *inbox) count() (seen uint64, now int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.seen, b.all
}

// Service is everything that godbus asks: whatever is called comes to serve.

// LookupObject implements dbus.Handler.
func (s *Service) LookupObject(dbus.ObjectPath) (dbus.ServerObject, bool) { return everything{s}, true }

type everything struct{ *Service }

func (e everything) LookupInterface(string) (dbus.Interface, bool) { return e, true }
func (e everything) LookupMethod(string) (dbus.Method, bool)       { return e, true }
func (e everything) NumArguments() int                             { return 1 }
func (e everything) NumReturns() int                               { return 0 }
func (e everything) ArgumentValue(int) any                         { return nil }
func (e everything) ReturnValue(int) any                           { return nil }

// DecodeArguments implements dbus.ArgumentDecoder. It takes the reply over from
// godbus, so that we know when it has left.
func (e everything) DecodeArguments(_ *dbus.Conn, sender string, m *dbus.Message, _ []any) ([]any, error) {
	mine := *m
	m.Flags |= dbus.FlagNoReplyExpected
	return []any{&mine, sender}, nil
}

// Call implements dbus.Method.
func (e everything) Call(args ...any) ([]any, error) {
	m, sender := args[0].(*dbus.Message), args[1].(string)
	defer e.inbox.answered(sender)
	<-e.ready
	path, _ := m.Headers[dbus.FieldPath].Value().(dbus.ObjectPath)
	c := &call{ctx: e.conn.Context(), service: e.Service, message: m, sender: sender, path: path}
	results, err := e.serve(c)
	e.reply(c, results, err)
	if c.known {
		e.inbox.leave(e.access.holder(c.who))
	}
	for _, f := range c.after {
		f()
	}
	return nil, nil
}

// enter finds out who calls, and waits until the bus has room for the reply: the
// caller reads what it was sent before.
func (c *call) enter() error {
	s := c.service
	if err := s.inbox.admit(c.sender); err != nil {
		return err
	}
	who, err := s.callers.of(c.ctx, c.sender)
	if err != nil {
		return err
	}
	if err := s.inbox.enter(c.sender, s.access.holder(who)); err != nil {
		return err
	}
	c.who, c.known = who, true
	if c.message.Flags&dbus.FlagNoReplyExpected != 0 {
		return nil
	}
	want := transport.AnyReply
	if name, _ := c.message.Headers[dbus.FieldMember].Value().(string); name == "Read" {
		want = reading.MaxPage + headerOfEvents
	}
	if s.inbox.alone(c.sender) {
		s.watcher.Heard(c.sender)
	}
	ctx, cancel := context.WithTimeout(c.ctx, readTime)
	defer cancel()
	c.room, err = s.backlog.Reserve(ctx, transport.Replies, c.sender, who.user, transport.AnyReply, want)
	if errors.Is(err, context.DeadlineExceeded) {
		return &failure{errorLimits, "the caller, or its user, does not read the replies to other calls"}
	}
	return err
}

// readTime is how long a call waits until its caller has read other replies: less
// than callers wait for a reply (25 s in most libraries).
const readTime = 20 * time.Second

// serve finds the method of a call and serves it.
func (s *Service) serve(c *call) ([]any, error) {
	if err := c.enter(); err != nil {
		return nil, err
	}
	iface, _ := c.message.Headers[dbus.FieldInterface].Value().(string)
	name, _ := c.message.Headers[dbus.FieldMember].Value().(string)
	signature, _ := c.message.Headers[dbus.FieldSignature].Value().(dbus.Signature)
	o := s.object(c.path)
	if o == nil {
		return nil, &failure{errorUnknownObject, "there is no object " + string(c.path)}
	}
	m, ok := method{}, false
	if iface == "" {
		// Without an interface the first that has such a method is meant.
		for _, methods := range o.interfaces {
			if m, ok = methods[name]; ok {
				break
			}
		}
	} else {
		methods, there := o.interfaces[iface]
		if !there {
			return nil, &failure{errorUnknownInterface, "the object has no interface " + iface}
		}
		m, ok = methods[name]
	}
	if !ok {
		return nil, &failure{errorUnknownMethod, "the interface has no method " + name}
	}
	if signature.String() != m.in {
		return nil, invalid("the arguments of " + name + " are of the types " + m.in + ", not " + clip(signature.String()))
	}
	if err := checkSize(c.message.Body); err != nil {
		return nil, err
	}
	if o.check != nil {
		if err := o.check(c); err != nil {
			return nil, err
		}
	}
	return m.serve(c)
}

// refuse answers a call that was too long to be read.
func (s *Service) refuse(h *transport.Header) {
	<-s.ready
	s.answer(&answer{to: h.Sender, serial: h.Serial, user: transport.Nobody}, nil,
		&fault.LimitError{What: "bytes of a message", Max: maxMessage})
}

// reply answers a call.
func (s *Service) reply(c *call, results []any, err error) {
	s.inbox.replying(c.sender)
	if c.message.Flags&dbus.FlagNoReplyExpected != 0 {
		return
	}
	a := &answer{to: c.sender, serial: c.message.Serial(), user: transport.Nobody, room: c.room}
	if c.known {
		a.user = c.who.user
	}
	if a.room == 0 && s.backlog.Overdue(a.to) {
		// It may read, only not as fast as it calls. The bus bounds how many of its
		// calls wait for an answer.
		ctx, cancel := context.WithTimeout(c.ctx, readTime)
		defer cancel()
		var full error
		if a.room, full = s.backlog.Reserve(ctx, transport.Replies, a.to, a.user, refusalRoom, refusalRoom); full != nil {
			return
		}
	}
	s.answer(a, results, err)
}

// refusalRoom is enough for the reply to a call that is refused.
const refusalRoom = 1 << 10

// answer is where a reply goes.
type answer struct {
	to     string
	serial uint32
	user   uint32
	// room is what is reserved for it.
	room int
}

// answer answers with results or an error.
func (s *Service) answer(a *answer, results []any, err error) {
	m := &dbus.Message{Type: dbus.TypeMethodReply, Flags: dbus.FlagNoReplyExpected, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldDestination: dbus.MakeVariant(a.to),
		dbus.FieldReplySerial: dbus.MakeVariant(a.serial),
	}, Body: results}
	if err != nil {
		named := busError(err)
		m.Type, m.Body = dbus.TypeError, named.Body
		m.Headers[dbus.FieldErrorName] = dbus.MakeVariant(named.Name)
	}
	if len(m.Body) > 0 {
		m.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(m.Body...))
	}
	message, wrong := s.socket.Encode(m)
	if wrong != nil {
		s.log.Error("cannot encode a reply", "error", wrong)
		s.backlog.Cancel(transport.Replies, a.to, a.user, a.room)
		return
	}
	if a.room == 0 && s.backlog.Overdue(a.to) {
		return // a long message, to which the reader of the bus answers: it cannot wait
	}
	s.backlog.Sent(transport.Replies, a.to, a.user, a.room, message.Len())
	if err := s.socket.SendMessage(message); err != nil && s.conn.Connected() {
		s.log.Error("cannot send a reply", "error", err)
	}
}
