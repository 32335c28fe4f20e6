// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/godbus/dbus/v5"
)

// Names on the bus.
const (
	busName               = "org.crypto_auditing.Broker"
	brokerPath            = dbus.ObjectPath("/org/crypto_auditing/Broker")
	brokerInterface       = "org.crypto_auditing.Broker"
	subscriptionInterface = "org.crypto_auditing.Broker.Subscription"
	propertiesInterface   = "org.freedesktop.DBus.Properties"
)

// Client speaks to the broker over one connection to the bus. When the
// connection breaks, as the bus restarts, the next call makes a new one.
type Client struct {
	address     string
	interactive bool

	mu     sync.Mutex
	conn   *dbus.Conn
	closed bool
}

// Option is an option of Connect.
type Option func(*Client)

// WithAddress connects to the bus at a D-Bus address, as
// "unix:path=/run/my/bus", instead of the system bus.
func WithAddress(address string) Option {
	return func(c *Client) { c.address = address }
}

// WithInteraction says that somebody is there who can be asked for a password.
// Calls may then take as long as people do.
func WithInteraction() Option {
	return func(c *Client) { c.interactive = true }
}

// Connect connects to the system bus: that of DBUS_SYSTEM_BUS_ADDRESS, if it is
// set. The broker is started by the first call. The error is ErrUnreachable if
// there is no bus.
func Connect(ctx context.Context, options ...Option) (*Client, error) {
	c := &Client{}
	for _, option := range options {
		option(c)
	}
	if _, err := c.connection(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

// Close closes the connection. Calls that are under way fail; subscriptions and
// streams have connections and pipes of their own and go on.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.conn == nil {
		return nil
	}
	err := c.conn.Close()
	c.conn = nil
	if err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("cannot close connection to the bus: %w", err)
	}
	return nil
}

// connection returns a connection that works, as far as is known.
func (c *Client) connection(ctx context.Context) (*dbus.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, ErrClosed
	}
	if c.conn != nil && c.conn.Connected() {
		return c.conn, nil
	}
	conn, err := dial(ctx, c.address)
	if err != nil {
		return nil, err
	}
	c.conn = conn
	return conn, nil
}

// dial makes a connection to the bus at an address, the system bus if it is
// empty.
func dial(ctx context.Context, address string, options ...dbus.ConnOption) (*dbus.Conn, error) {
	type result struct {
		conn *dbus.Conn
		err  error
	}
	done := make(chan result, 1)
	go func() {
		var r result
		if address == "" {
			r.conn, r.err = dbus.ConnectSystemBus(options...)
		} else {
			r.conn, r.err = dbus.Connect(address, options...)
		}
		done <- r
	}()
	select {
	case r := <-done:
		if r.err != nil {
			return nil, fmt.Errorf("%w: cannot connect to the bus: %w", ErrUnreachable, r.err)
		}
		return r.conn, nil
	case <-ctx.Done():
		go func() {
			if r := <-done; r.err == nil {
				_ = r.conn.Close()
			}
		}()
		return nil, ctx.Err()
	}
}

// call calls a method of the broker and returns the values of the answer.
func (c *Client) call(ctx context.Context, path dbus.ObjectPath, method string, arguments ...any) ([]any, error) {
	conn, err := c.connection(ctx)
	if err != nil {
		return nil, err
	}
	return call(ctx, conn, c.interactive, path, method, arguments...)
}

// call calls INTERFACE.MEMBER. It makes the message itself, for the flag that
// dbus.Object would take away.
func call(ctx context.Context, conn *dbus.Conn, interactive bool, path dbus.ObjectPath, method string, arguments ...any) ([]any, error) {
	m := newCall(interactive, path, method, arguments...)
	answer := <-conn.SendWithContext(ctx, m, make(chan *dbus.Call, 1)).Done
	return answer.Body, callError(answer.Err)
}

func newCall(interactive bool, path dbus.ObjectPath, method string, arguments ...any) *dbus.Message {
	var interfaceName, member string
	for i := len(method) - 1; i >= 0; i-- {
		if method[i] == '.' {
			interfaceName, member = method[:i], method[i+1:]
			break
		}
	}
	m := &dbus.Message{
		Type: dbus.TypeMethodCall,
		Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldDestination: dbus.MakeVariant(busName),
			dbus.FieldPath:        dbus.MakeVariant(path),
			dbus.FieldInterface:   dbus.MakeVariant(interfaceName),
			dbus.FieldMember:      dbus.MakeVariant(member),
		},
		Body: arguments,
	}
	if interactive {
		m.Flags |= dbus.FlagAllowInteractiveAuthorization
	}
	if len(arguments) > 0 {
		m.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(arguments...))
	}
	return m
}

// store takes the values of an answer apart.
func store(method string, body []any, to ...any) error {
	if err := dbus.Store(body, to...); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrProtocol, method, err)
	}
	return nil
}

// Flush waits until everything that was probed before is in the log and
// durable, and returns the cursor of the newest entry.
func (c *Client) Flush(ctx context.Context) (Cursor, error) {
	body, err := c.call(ctx, brokerPath, brokerInterface+".Flush")
	if err != nil {
		return "", fmt.Errorf("cannot flush the log: %w", err)
	}
	var cursor Cursor
	return cursor, store("Flush", body, &cursor)
}
