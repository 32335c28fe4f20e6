// SPDX-License-Identifier: Apache-2.0

// Package agentclient asks the agent on its varlink socket, for the broker.
package agentclient

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/varlink/go/varlink"

	"crypto-auditing/src/internal/broker"
	"crypto-auditing/src/internal/broker/fault"
	"crypto-auditing/src/internal/logstore"
	api "crypto-auditing/src/internal/varlinkservice/orgcryptoauditingagent"
)

// Client is a broker.Agent. Each call makes a connection of its own, so that
// one that takes long holds up no other.
type Client struct {
	// Path is that of the socket.
	Path string
}

// call connects and has f call. Whatever fails means that the agent is not
// available, but for what it says itself.
func (c Client) call(ctx context.Context, f func(*varlink.Connection) error) error {
	connection, err := varlink.NewConnection(ctx, "unix:"+c.Path)
	if err != nil {
		return fmt.Errorf("%w on %s: %w", fault.ErrAgentUnavailable, c.Path, err)
	}
	defer connection.Close()
	err = f(connection)
	var failed *api.Failed
	var foreign *api.ForeignCursor
	var lagging *api.Lagging
	var denied *api.PermissionDenied
	var all *api.RemovesAll
	switch {
	case err == nil:
		return nil
	case errors.As(err, &failed):
		return fmt.Errorf("the agent failed: %s", failed.Problem)
	case errors.As(err, &foreign):
		return fmt.Errorf("%w: %s", logstore.ErrForeignCursor, foreign.Cursor)
	case errors.As(err, &all):
		return errors.New("the agent does not remove the whole log without force")
	case errors.As(err, &denied):
		return fmt.Errorf("the agent lets only %s do that", denied.Allowed)
	case errors.As(err, &lagging):
		return errors.New("it was not listened to in time")
	}
	return fmt.Errorf("%w: %w", fault.ErrAgentUnavailable, err)
}

// Status implements broker.Agent.
func (c Client) Status(ctx context.Context) (status broker.AgentStatus, err error) {
	err = c.call(ctx, func(connection *varlink.Connection) error {
		s, err := api.GetStatus().Call(ctx, connection)
		if err == nil {
			status = statusOf(&s)
		}
		return err
	})
	return status, err
}

func statusOf(s *api.Status) broker.AgentStatus {
	status := broker.AgentStatus{
		Version: s.Version, Started: time.UnixMicro(s.StartedUSec), Profile: s.Profile, Directory: s.Directory, Full: s.Full,
		HitsSeen: uint64(s.HitsSeen), Hits: uint64(s.Hits), Events: uint64(s.Events), Groups: uint64(s.Groups), Chunks: uint64(s.Chunks),
		RingSize: uint64(s.RingSize), RingHighWater: uint64(s.RingHighWater),
		CPU: time.Duration(s.CpuUSec) * time.Microsecond, Resident: uint64(s.Resident), Problem: s.Problem,
	}
	for _, l := range s.Lost {
		status.Lost = append(status.Lost, broker.AgentLoss{Place: l.Place, Reason: l.Reason, Hits: uint64(l.Hits), Events: uint64(l.Events)})
	}
	for _, l := range s.Libraries {
		library := broker.AgentLibrary{
			Path: l.Path, BuildID: l.BuildId, Provider: l.Provider, Probes: l.Probes, Sites: uint64(l.Sites), Hits: uint64(l.Hits),
			Attached: l.Attached, Replaced: l.Replaced, Error: l.Error,
		}
		if l.AttachedUSec != 0 {
			library.Since = time.UnixMicro(l.AttachedUSec)
		}
		status.Libraries = append(status.Libraries, library)
	}
	return status
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

// Remove implements broker.Agent.
func (c Client) Remove(ctx context.Context, before logstore.Cursor, by broker.Remover) (bytes int64, segments int, err error) {
	uid := int64(by.UID)
	err = c.call(ctx, func(connection *varlink.Connection) error {
		removed, n, err := api.Remove().Call(ctx, connection, before.String(), &uid, &by.User, &by.Policy, &by.Force)
		bytes, segments = removed, int(n)
		return err
	})
	return bytes, segments, err
}

// Follow implements broker.Agent.
func (c Client) Follow(ctx context.Context, following func(), told func(logstore.Cursor)) error {
	return c.call(ctx, func(connection *varlink.Connection) error {
		// Whoever listens on the socket is not yet an agent that answers.
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
			told(cursor)
			if flags&varlink.Continues == 0 {
				return errors.New("it tells no more")
			}
		}
	})
}
