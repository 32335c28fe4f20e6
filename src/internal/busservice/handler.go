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
	"crypto-auditing/src/internal/busservice/object"
	"crypto-auditing/src/internal/busservice/transport"
)

// call is a method call in progress.
type call struct {
	ctx     context.Context
	service *Service
	message *dbus.Message
	sender  string
	path    dbus.ObjectPath
	caller  access.Caller
	// known is set if caller is known and the call counts towards that user's limit.
	known bool
	// room is the number of bytes reserved for the reply.
	room int
	// subscription is the one that is called, if any.
	subscription *delivery.Subscription
	// after are run once the reply has been sent, in the order in which they were
	// added.
	after []func()
}

// interactive reports whether the caller allows a password prompt.
func (c *call) interactive() bool {
	return c.message.Flags&dbus.FlagAllowInteractiveAuthorization != 0
}

// authorise returns nil if the caller may perform an action.
func (c *call) authorise(action string) error {
	return c.service.access.Check(c.ctx, c.caller, c.sender, action, c.interactive())
}

// arguments decodes the arguments of the call into values of the given types.
func (c *call) arguments(targets ...any) error {
	if err := dbus.Store(c.message.Body, targets...); err != nil {
		return arguments.Invalid("the arguments have other types")
	}
	return nil
}

// Arguments implements object.Call.
func (c *call) Arguments(targets ...any) error { return c.arguments(targets...) }

// method serves a method; in is the signature of its arguments.
type method struct {
	in    string
	serve func(*call) ([]any, error)
}

// received is called with every message, in the order of the bus.
func (s *Service) received(m *dbus.Message) {
	if object.Served(m) {
		sender, _ := m.Headers[dbus.FieldSender].Value().(string)
		s.calls.Received(sender)
	}
}

// called serves a call from beginning to end.
func (s *Service) called(m *dbus.Message, sender string) {
	defer s.calls.Answered(sender)
	<-s.ready
	path, _ := m.Headers[dbus.FieldPath].Value().(dbus.ObjectPath)
	c := &call{ctx: s.conn.Context(), service: s, message: m, sender: sender, path: path}
	results, err := s.serve(c)
	s.reply(c, results, err)
	if c.known {
		s.calls.Exit(s.access.Holder(c.caller))
	}
	for _, f := range c.after {
		f()
	}
}

// enter identifies the caller and waits until the bus has room for the reply,
// that is, until the caller has read earlier messages.
func (c *call) enter() error {
	s := c.service
	if err := s.calls.Admit(c.sender); err != nil {
		return err
	}
	caller, err := s.callers.Get(c.ctx, c.sender)
	if err != nil {
		return err
	}
	if err := s.calls.Enter(c.sender, s.access.Holder(caller)); err != nil {
		return err
	}
	c.caller, c.known = caller, true
	if c.message.Flags&dbus.FlagNoReplyExpected != 0 {
		return nil
	}
	want := transport.AnyReply
	if name, _ := c.message.Headers[dbus.FieldMember].Value().(string); name == "Read" || name == "ReadOperations" {
		want = reading.MaxPage + marshal.Overhead
	}
	if s.calls.OnlyPending(c.sender) {
		s.watcher.NoteCall(c.sender)
	}
	ctx, cancel := context.WithTimeout(c.ctx, readTime)
	defer cancel()
	c.room, err = s.backlog.Reserve(ctx, transport.Replies, c.sender, caller.User, transport.AnyReply, want)
	if errors.Is(err, context.DeadlineExceeded) {
		return &transport.Error{Name: transport.LimitsExceeded, Text: "the caller, or its user, does not read the replies to other calls"}
	}
	return err
}

// readTime is how long a call waits for its caller to read earlier replies. It is
// shorter than the time clients wait for a reply (25 s in most libraries).
const readTime = 20 * time.Second

// serve looks up the method of a call and runs it.
func (s *Service) serve(c *call) ([]any, error) {
	if err := c.enter(); err != nil {
		return nil, err
	}
	o := s.object(c.path)
	if o == nil {
		return nil, &transport.Error{Name: transport.UnknownObject, Text: "there is no object " + string(c.path)}
	}
	m, err := o.interfaces.Find(c.message)
	if err != nil {
		return nil, err
	}
	if err := arguments.CheckSize(c.message.Body); err != nil {
		return nil, err
	}
	if o.check != nil {
		if err := o.check(c); err != nil {
			return nil, err
		}
	}
	return m.Serve(c)
}

// refuse answers a call whose message was discarded because of its size.
func (s *Service) refuse(h *transport.Header) {
	<-s.ready
	if s.backlog.Overdue(h.Sender) {
		return // the goroutine that reads the bus calls this, and must not block
	}
	s.answer(&answer{to: h.Sender, serial: h.Serial, user: transport.UnknownUser}, nil,
		&fault.LimitError{Resource: "bytes of a message", Max: maxMessage})
}

// reply sends the reply to a call.
func (s *Service) reply(c *call, results []any, err error) {
	s.calls.Replying(c.sender)
	if c.message.Flags&dbus.FlagNoReplyExpected != 0 {
		return
	}
	a := &answer{to: c.sender, serial: c.message.Serial(), user: transport.UnknownUser, room: c.room}
	if c.known {
		a.user = c.caller.User
	}
	if a.room == 0 && s.backlog.Overdue(a.to) {
		// The caller may read, but more slowly than it calls. The bus bounds the
		// number of its pending calls.
		ctx, cancel := context.WithTimeout(c.ctx, readTime)
		defer cancel()
		var full error
		if a.room, full = s.backlog.Reserve(ctx, transport.Replies, a.to, a.user, refusalRoom, refusalRoom); full != nil {
			return
		}
	}
	s.answer(a, results, err)
}

// refusalRoom is the size reserved for the reply to a refused call, in bytes.
const refusalRoom = 1 << 10

// maxMessage is the largest accepted message in bytes: the arguments of the
// largest valid call and the header.
const maxMessage = arguments.Max + 64<<10

// answer is the destination of a reply.
type answer struct {
	to     string
	serial uint32
	user   uint32
	// room is the number of bytes reserved for the reply.
	room int
}

// answer replies with results or an error.
func (s *Service) answer(a *answer, results []any, err error) {
	message, err := s.encode(a, results, err)
	if err != nil {
		s.log.Error("cannot encode a reply", "error", err)
		s.backlog.Cancel(transport.Replies, a.to, a.user, a.room)
		return
	}
	s.backlog.Sent(transport.Replies, a.to, a.user, a.room, message.Len())
	if err := s.socket.Send(message); err != nil && s.conn.Connected() {
		s.log.Error("cannot send a reply", "error", err)
	}
}

// encode encodes a reply with results or an error. A page of the log is
// encoded already.
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
		if page, ok := m.Body[0].(marshal.Encoded); ok {
			return transport.Encoded(page.Reply(s.socket.Serial(), a.to, a.serial)), nil
		}
		m.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(m.Body...))
	}
	return s.socket.Encode(m)
}
