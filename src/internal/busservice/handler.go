// SPDX-License-Identifier: Apache-2.0

package busservice

import (
	"context"
	"errors"
	"time"

	"github.com/godbus/dbus/v5"

	"crypto-auditing/src/internal/broker/delivery"
	"crypto-auditing/src/internal/broker/fault"
	"crypto-auditing/src/internal/broker/reading"
	"crypto-auditing/src/internal/busservice/access"
	"crypto-auditing/src/internal/busservice/arguments"
	"crypto-auditing/src/internal/busservice/marshal"
	"crypto-auditing/src/internal/busservice/transport"
)

// call is a method call.
type call struct {
	ctx     context.Context
	service *Service
	message *dbus.Message
	sender  string
	path    dbus.ObjectPath
	who     access.Caller
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
	return c.service.access.Check(c.ctx, c.who, c.sender, action, c.interactive())
}

// arguments stores the arguments of the call, which must be of these types.
func (c *call) arguments(targets ...any) error {
	if err := dbus.Store(c.message.Body, targets...); err != nil {
		return arguments.Invalid("the arguments are of other types")
	}
	return nil
}

// method serves a method: its arguments have the signature in.
type method struct {
	in    string
	serve func(*call) ([]any, error)
}

// served reports whether a message comes to us: godbus serves Peer.
func served(m *dbus.Message) bool {
	iface, _ := m.Headers[dbus.FieldInterface].Value().(string)
	return m.Type == dbus.TypeMethodCall && iface != "org.freedesktop.DBus.Peer"
}

// received is told of every message in the order of the bus.
func (s *Service) received(m *dbus.Message) {
	if served(m) {
		sender, _ := m.Headers[dbus.FieldSender].Value().(string)
		s.calls.Received(sender)
	}
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
	defer e.calls.Answered(sender)
	<-e.ready
	path, _ := m.Headers[dbus.FieldPath].Value().(dbus.ObjectPath)
	c := &call{ctx: e.conn.Context(), service: e.Service, message: m, sender: sender, path: path}
	results, err := e.serve(c)
	e.reply(c, results, err)
	if c.known {
		e.calls.Leave(e.access.Holder(c.who))
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
	if err := s.calls.Admit(c.sender); err != nil {
		return err
	}
	who, err := s.callers.Of(c.ctx, c.sender)
	if err != nil {
		return err
	}
	if err := s.calls.Enter(c.sender, s.access.Holder(who)); err != nil {
		return err
	}
	c.who, c.known = who, true
	if c.message.Flags&dbus.FlagNoReplyExpected != 0 {
		return nil
	}
	want := transport.AnyReply
	if name, _ := c.message.Headers[dbus.FieldMember].Value().(string); name == "Read" {
		want = reading.MaxPage + marshal.Overhead
	}
	if s.calls.Alone(c.sender) {
		s.watcher.Heard(c.sender)
	}
	ctx, cancel := context.WithTimeout(c.ctx, readTime)
	defer cancel()
	c.room, err = s.backlog.Reserve(ctx, transport.Replies, c.sender, who.User, transport.AnyReply, want)
	if errors.Is(err, context.DeadlineExceeded) {
		return &transport.Error{Name: transport.LimitsExceeded, Text: "the caller, or its user, does not read the replies to other calls"}
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
		return nil, &transport.Error{Name: transport.UnknownObject, Text: "there is no object " + string(c.path)}
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
			return nil, &transport.Error{Name: transport.UnknownInterface, Text: "the object has no interface " + iface}
		}
		m, ok = methods[name]
	}
	if !ok {
		return nil, &transport.Error{Name: transport.UnknownMethod, Text: "the interface has no method " + name}
	}
	if signature.String() != m.in {
		return nil, arguments.Invalid("the arguments of " + name + " are of the types " + m.in + ", not " + arguments.Clip(signature.String()))
	}
	if err := arguments.CheckSize(c.message.Body); err != nil {
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
	s.calls.Replying(c.sender)
	if c.message.Flags&dbus.FlagNoReplyExpected != 0 {
		return
	}
	a := &answer{to: c.sender, serial: c.message.Serial(), user: transport.Nobody, room: c.room}
	if c.known {
		a.user = c.who.User
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

// maxMessage is how long a message to us may be, in bytes: the arguments of the
// largest valid call, and what is around them.
const maxMessage = arguments.Max + 64<<10

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
	message, err := s.encode(a, results, err)
	if err != nil {
		s.log.Error("cannot encode a reply", "error", err)
		s.backlog.Cancel(transport.Replies, a.to, a.user, a.room)
		return
	}
	if a.room == 0 && s.backlog.Overdue(a.to) {
		return // a long message, to which the reader of the bus answers: it cannot wait
	}
	s.backlog.Sent(transport.Replies, a.to, a.user, a.room, message.Len())
	if err := s.socket.Send(message); err != nil && s.conn.Connected() {
		s.log.Error("cannot send a reply", "error", err)
	}
}

// encode returns the message with results, a page of Read alone being encoded
// already, or with an error.
func (s *Service) encode(a *answer, results []any, err error) (*transport.Message, error) {
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
		if page, ok := m.Body[0].(*marshal.Page); ok {
			return transport.Encoded(page.Reply(s.socket.Serial(), a.to, a.serial)), nil
		}
		m.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(m.Body...))
	}
	return s.socket.Encode(m)
}
