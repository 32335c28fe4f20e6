// SPDX-License-Identifier: Apache-2.0

package inventoryservice

import (
	"context"
	"time"

	"github.com/godbus/dbus/v5"

	"crypto-auditing/src/internal/busservice/access"
	"crypto-auditing/src/internal/busservice/dictionary"
	"crypto-auditing/src/internal/busservice/object"
	"crypto-auditing/src/internal/busservice/transport"
)

const (
	// maxArguments bounds the decoded arguments of a call, maxMessage a message, in bytes: a filter has
	// at most a few hundred names.
	maxArguments = 64 << 10
	maxMessage   = maxArguments + 64<<10
	// maxReply is the largest reply in bytes. Larger answers are exported.
	maxReply = 4 << 20
	// readTime is how long a reply waits for its caller to read earlier ones.
	readTime = 20 * time.Second
)

// call is a method call in progress.
type call struct {
	ctx     context.Context
	service *Service
	message *dbus.Message
	sender  string
	path    dbus.ObjectPath
	// caller is the caller, if known is set.
	caller access.Caller
	known  bool
	// after, if set, is run once the reply has been sent or has failed.
	after func()
}

// Arguments implements object.Call.
func (c *call) Arguments(targets ...any) error {
	if err := dbus.Store(c.message.Body, targets...); err != nil {
		return dictionary.Invalid("the arguments have other types")
	}
	return nil
}

// authorise returns nil if the caller may read. interactive permits a prompt for a password, if the caller
// allows it, too.
func (c *call) authorise(interactive bool) error {
	interactive = interactive && c.message.Flags&dbus.FlagAllowInteractiveAuthorization != 0
	return c.service.access.Check(c.ctx, c.caller, c.sender, access.Read, interactive)
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
	if c.after != nil {
		c.after()
	}
}

// enter identifies the caller and counts the call.
func (c *call) enter() (err error) {
	s := c.service
	if err := s.calls.Admit(c.sender); err != nil {
		return err
	}
	if c.caller, err = s.callers.Get(c.ctx, c.sender); err != nil {
		return err
	}
	if err := s.calls.Enter(c.sender, s.access.Holder(c.caller)); err != nil {
		return err
	}
	c.known = true
	if s.calls.OnlyPending(c.sender) {
		s.watcher.NoteCall(c.sender)
	}
	return nil
}

// serve runs the method of a call.
func (s *Service) serve(c *call) ([]any, error) {
	if err := c.enter(); err != nil {
		return nil, err
	}
	interfaces := s.tables.at(c.path)
	if interfaces == nil {
		return nil, &transport.Error{Name: transport.UnknownObject, Text: "there is no object " + dictionary.Clip(string(c.path))}
	}
	m, err := interfaces.Find(c.message)
	if err != nil {
		return nil, err
	}
	if !dictionary.Fits(c.message.Body, maxArguments) {
		return nil, limitExceeded("the arguments take more than %d bytes", maxArguments)
	}
	return m.Serve(c)
}

// refuse answers a call whose message was discarded because of its size. It runs in the goroutine that
// reads the bus, and does not wait for space.
func (s *Service) refuse(h *transport.Header) {
	message, err := s.encode(h.Sender, h.Serial, nil, limitExceeded("a message has at most %d bytes", maxMessage))
	if err == nil && !s.backlog.Overdue(h.Sender) {
		s.send(message, h.Sender, transport.UnknownUser, 0)
	}
}

// reply sends the reply to a call, once its caller and the caller's user have read enough of others.
func (s *Service) reply(c *call, results []any, err error) {
	s.calls.Replying(c.sender)
	if c.message.Flags&dbus.FlagNoReplyExpected != 0 {
		return
	}
	user := uint32(transport.UnknownUser)
	if c.known {
		user = c.caller.User
	}
	message, err := s.encode(c.sender, c.message.Serial(), results, err)
	if err != nil {
		s.log.Error("cannot encode a reply", "error", err)
		return
	}
	ctx, cancel := context.WithTimeout(c.ctx, readTime)
	defer cancel()
	size := message.Len()
	room, err := s.backlog.Reserve(ctx, transport.Replies, c.sender, user, size, size)
	if err != nil {
		if s.backlog.Overdue(c.sender) {
			return
		}
		full := &transport.Error{Name: transport.LimitsExceeded, Text: "the caller, or its user, does not read the replies to other calls"}
		if message, err = s.encode(c.sender, c.message.Serial(), nil, full); err != nil {
			return
		}
	}
	s.send(message, c.sender, user, room)
}

// send sends a reply for which room bytes are reserved.
func (s *Service) send(m *transport.Message, to string, user uint32, room int) {
	s.backlog.Sent(transport.Replies, to, user, room, m.Len())
	if err := s.socket.Send(m); err != nil && s.conn.Connected() {
		s.log.Error("cannot send a reply", "error", err)
	}
}

// encode encodes a reply with results or an error. Results that are too large become an error.
func (s *Service) encode(to string, serial uint32, results []any, err error) (*transport.Message, error) {
	m := &dbus.Message{Type: dbus.TypeMethodReply, Flags: dbus.FlagNoReplyExpected, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldDestination: dbus.MakeVariant(to),
		dbus.FieldReplySerial: dbus.MakeVariant(serial),
	}, Body: results}
	if err != nil {
		named := busError(err)
		m.Type, m.Body = dbus.TypeError, named.Body
		m.Headers[dbus.FieldErrorName] = dbus.MakeVariant(named.Name)
	}
	if len(m.Body) > 0 {
		m.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(m.Body...))
	}
	message, encoding := s.socket.Encode(m)
	if err == nil && encoding == nil && message.Len() > maxReply {
		return s.encode(to, serial, nil, limitExceeded("the answer has more than %d bytes: ask for a shorter period or for fewer columns, or export it", maxReply))
	}
	return message, encoding
}
