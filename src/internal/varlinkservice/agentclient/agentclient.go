// SPDX-License-Identifier: Apache-2.0

// Package agentclient calls the agent on its varlink socket, for the broker and crauctl.
package agentclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"

	"github.com/varlink/go/varlink"

	"crypto-auditing/src/internal/broker/fault"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/retention"
	"crypto-auditing/src/internal/status"
	api "crypto-auditing/src/internal/varlinkservice/orgcryptoauditingagent"
)

// Socket is the path of the agent's socket.
const Socket = api.Socket

// Client is a broker.Agent. Each call uses a connection of its own, so that a slow call
// does not block others. Errors other than those of this package and of cursors wrap
// fault.ErrAgentUnavailable and the cause.
type Client struct {
	// Path is the path of the socket.
	Path string
}

// call connects and calls f.
func (c Client) call(ctx context.Context, f func(*varlink.Connection) error) error {
	connection, err := varlink.NewConnectionWithDialer(ctx, "unix:", dialer(c.Path))
	if err != nil {
		return fmt.Errorf("%w on %s: %w", fault.ErrAgentUnavailable, c.Path, err)
	}
	defer connection.Close()
	return answer(f(connection))
}

// dialer connects to a path regardless of the address, because the library splits a path
// at a semicolon.
type dialer string

// DialContext implements varlink.ContextDialer.
func (s dialer) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "unix", string(s))
}

// Status implements broker.Agent.
func (c Client) Status(ctx context.Context) (s status.Agent, err error) {
	err = c.call(ctx, func(connection *varlink.Connection) error {
		receive, err := connection.Send(ctx, "org.cryptoauditing.Agent.GetStatus", nil, 0)
		if err != nil {
			return err
		}
		var reply struct {
			Status json.RawMessage `json:"status"`
		}
		if _, err = receive(ctx, &reply); err != nil {
			return api.Dispatch_Error(err)
		}
		return status.FromVarlink(reply.Status, &s)
	})
	return s, err
}

// Flush implements broker.Agent.
func (c Client) Flush(ctx context.Context) (cursor logstore.Cursor, err error) {
	err = c.call(ctx, func(connection *varlink.Connection) error {
		text, err := api.Flush().Call(ctx, connection)
		if err == nil {
			cursor, err = logstore.ParseCursor(text)
		}
		return err
	})
	return cursor, err
}

// Rotate starts a new segment and returns its file name.
func (c Client) Rotate(ctx context.Context) (segment string, err error) {
	err = c.call(ctx, func(connection *varlink.Connection) (err error) {
		segment, err = api.Rotate().Call(ctx, connection)
		return err
	})
	return segment, err
}

// Reload makes the agent reread its configuration, and returns when it is in effect. An
// error in the configuration is a *ConfigurationError.
func (c Client) Reload(ctx context.Context) error {
	return c.call(ctx, func(connection *varlink.Connection) error { return api.Reload().Call(ctx, connection) })
}

// Remove implements broker.Agent.
func (c Client) Remove(ctx context.Context, before logstore.Cursor, by retention.Remover) (bytes int64, segments int, err error) {
	uid := int64(by.UID)
	err = c.call(ctx, func(connection *varlink.Connection) error {
		removed, n, err := api.Remove().Call(ctx, connection, before.String(), &uid, &by.User, &by.Policy, &by.Force)
		bytes, segments = removed, int(n)
		return err
	})
	return bytes, segments, err
}

// Follow implements broker.Agent.
func (c Client) Follow(ctx context.Context, following func(), committed func(logstore.Cursor)) error {
	return c.call(ctx, func(connection *varlink.Connection) error {
		// A socket that accepts connections may not yet have an agent that answers.
		var vendor, product, version, url string
		var interfaces []string
		if err := connection.GetInfo(ctx, &vendor, &product, &version, &url, &interfaces); err != nil {
			return err
		}
		following()
		receive, err := api.Follow().Send(ctx, connection, varlink.More)
		if err != nil {
			return err
		}
		for {
			text, _, _, flags, err := receive(ctx)
			if err != nil {
				return err
			}
			cursor, err := logstore.ParseCursor(text)
			if err != nil {
				return err
			}
			committed(cursor)
			if flags&varlink.Continues == 0 {
				return errors.New("it ended the stream")
			}
		}
	})
}
