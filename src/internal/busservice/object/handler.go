// SPDX-License-Identifier: Apache-2.0

package object

import "github.com/godbus/dbus/v5"

// Served reports whether a message is for a Handler: godbus serves Peer.
func Served(m *dbus.Message) bool {
	iface, _ := m.Headers[dbus.FieldInterface].Value().(string)
	return m.Type == dbus.TypeMethodCall && iface != peer
}

// Handler is a dbus.Handler that serves every call, in a goroutine of the call. It sends the reply
// itself, so that it learns when the reply has been sent.
type Handler func(m *dbus.Message, sender string)

// LookupObject implements dbus.Handler.
func (h Handler) LookupObject(dbus.ObjectPath) (dbus.ServerObject, bool) { return everything(h), true }

type everything Handler

func (e everything) LookupInterface(string) (dbus.Interface, bool) { return e, true }
func (e everything) LookupMethod(string) (dbus.Method, bool)       { return e, true }
func (e everything) NumArguments() int                             { return 1 }
func (e everything) NumReturns() int                               { return 0 }
func (e everything) ArgumentValue(int) any                         { return nil }
func (e everything) ReturnValue(int) any                           { return nil }

// DecodeArguments implements dbus.ArgumentDecoder. It makes godbus send no reply.
func (e everything) DecodeArguments(_ *dbus.Conn, sender string, m *dbus.Message, _ []any) ([]any, error) {
	original := *m
	m.Flags |= dbus.FlagNoReplyExpected
	return []any{&original, sender}, nil
}

// Call implements dbus.Method.
func (e everything) Call(args ...any) ([]any, error) {
	e(args[0].(*dbus.Message), args[1].(string))
	return nil, nil
}
