// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"

	"github.com/godbus/dbus/v5"

	"crypto-auditing/src/client/internal/delivery"
)

// Names on the bus.
const (
	busName               = delivery.BusName
	brokerPath            = dbus.ObjectPath(delivery.BrokerPath)
	brokerInterface       = busName
	subscriptionInterface = delivery.SubscriptionInterface
	propertiesInterface   = "org.freedesktop.DBus.Properties"
)

// Client calls the broker over one connection to the bus. If the connection
// breaks, for example because the bus restarts, the next call reconnects.
type Client struct {
	address     string
	interactive bool

	mu     sync.Mutex
	conn   *dbus.Conn
	closed bool
}

// Option is an option of Connect.
type Option func(*Client)

// WithAddress connects to the bus at a D-Bus address such as
// "unix:path=/run/my/bus" instead of the system bus.
func WithAddress(address string) Option {
	return func(c *Client) { c.address = address }
}

// WithInteraction allows polkit to prompt the user for a password. Calls then last
// as long as the prompt is open.
func WithInteraction() Option {
	return func(c *Client) { c.interactive = true }
}

// Connect connects to the system bus, at DBUS_SYSTEM_BUS_ADDRESS if that is set.
// The first call starts the broker. The error is ErrUnreachable if there is no
// bus.
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

// Close closes the connection. Pending calls fail; subscriptions and streams have their
// own connections and pipes, and continue.
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

// connection returns a connection that is not known to be broken.
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

// dial connects to the bus at an address, or to the system bus if it is empty.
func dial(ctx context.Context, address string, options ...dbus.ConnOption) (*dbus.Conn, error) {
	return await(ctx, func() (*dbus.Conn, error) {
		connect := func() (*dbus.Conn, error) { return dbus.Connect(address, options...) }
		if address == "" {
			connect = func() (*dbus.Conn, error) { return dbus.ConnectSystemBus(options...) }
		}
		conn, err := connect()
		if err != nil {
			err = fmt.Errorf("%w: cannot connect to the bus: %w", ErrUnreachable, err)
		}
		return conn, err
	}, func(c *dbus.Conn) { _ = c.Close() })
}

// await returns the result of do, which cannot be interrupted, or the error of ctx
// once that is done. A late result of do is passed to undo.
func await[T any](ctx context.Context, do func() (T, error), undo func(T)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		value, err := do()
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		go func() {
			if r := <-done; r.err == nil {
				undo(r.value)
			}
		}()
		var none T
		return none, ctx.Err()
	}
}

// call calls a method of the broker and returns the values of the reply.
func (c *Client) call(ctx context.Context, path dbus.ObjectPath, method string, arguments ...any) ([]any, error) {
	conn, err := c.connection(ctx)
	if err != nil {
		return nil, err
	}
	return call(ctx, conn, c.interactive, path, method, arguments...)
}

// Call calls a method, INTERFACE.MEMBER, of another service of the project, such as the inventory, and
// returns the values of the reply. It returns errors of this package.
func (c *Client) Call(ctx context.Context, service string, path dbus.ObjectPath, method string, arguments ...any) ([]any, error) {
	// An abandoned call would lose a file descriptor in its reply, so it is awaited.
	return await(ctx, func() ([]any, error) {
		conn, err := c.connection(ctx)
		if err != nil {
			return nil, err
		}
		m := newCall(c.interactive, path, method, arguments...)
		m.Headers[dbus.FieldDestination] = dbus.MakeVariant(service)
		answer := <-conn.SendWithContext(context.WithoutCancel(ctx), m, make(chan *dbus.Call, 1)).Done
		return answer.Body, callError(answer.Err)
	}, func(body []any) {
		for _, value := range body {
			if fd, ok := value.(dbus.UnixFD); ok {
				_ = syscall.Close(int(fd))
			}
		}
	})
}

// query calls a method of the broker and stores the values of the reply.
func (c *Client) query(ctx context.Context, path dbus.ObjectPath, method string, arguments []any, to ...any) error {
	body, err := c.call(ctx, path, method, arguments...)
	if err != nil {
		return err
	}
	return store(method, body, to...)
}

// call calls INTERFACE.MEMBER. It builds the message itself to set a flag that
// dbus.Object would clear.
func call(ctx context.Context, conn *dbus.Conn, interactive bool, path dbus.ObjectPath, method string, arguments ...any) ([]any, error) {
	m := newCall(interactive, path, method, arguments...)
	answer := <-conn.SendWithContext(ctx, m, make(chan *dbus.Call, 1)).Done
	return answer.Body, callError(answer.Err)
}

func newCall(interactive bool, path dbus.ObjectPath, method string, arguments ...any) *dbus.Message {
	dot := strings.LastIndexByte(method, '.')
	m := &dbus.Message{
		Type: dbus.TypeMethodCall,
		Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldDestination: dbus.MakeVariant(busName),
			dbus.FieldPath:        dbus.MakeVariant(path),
			dbus.FieldInterface:   dbus.MakeVariant(method[:dot]),
			dbus.FieldMember:      dbus.MakeVariant(method[dot+1:]),
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

// store decodes the values of a reply.
func store(method string, body []any, to ...any) error {
	if err := dbus.Store(body, to...); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrProtocol, method, err)
	}
	return nil
}

// Flush waits until everything captured before the call is in the log and durable,
// and returns the cursor of the newest entry.
func (c *Client) Flush(ctx context.Context) (Cursor, error) {
	var cursor Cursor
	if err := c.query(ctx, brokerPath, brokerInterface+".Flush", nil, &cursor); err != nil {
		return "", fmt.Errorf("cannot flush the log: %w", err)
	}
	return cursor, nil
}
