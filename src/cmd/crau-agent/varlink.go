// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"log/slog"
	"net"

	"crypto-auditing/src/internal/agent"
	"crypto-auditing/src/internal/program"
	"crypto-auditing/src/internal/varlinkservice"
	"crypto-auditing/src/internal/varlinkservice/agentservice"
)

// activatedName is the name of the socket in the socket unit (FileDescriptorName=).
const activatedName = "varlink"

// callers is the socket for queries about the agent.
type callers struct {
	listener net.Listener // nil: no socket
	access   agentservice.Access
	log      *slog.Logger
}

// listenForCallers takes the socket of the service manager, or else creates one at path
// unless path is empty.
func listenForCallers(path string, log *slog.Logger) (*callers, error) {
	access, err := agentservice.LookUpAccess()
	if err != nil {
		return nil, err
	}
	c := &callers{access: access, log: log}
	if c.listener, err = varlinkservice.Activated(activatedName); err != nil {
		return nil, err
	}
	switch {
	case path == "":
	case c.listener != nil:
		c.listener.Close()
		return nil, program.Usage(errors.New("--varlink makes a socket, and the service manager has passed one: use one of them"))
	default:
		c.listener, err = varlinkservice.Listen(path, access.Group)
	}
	return c, err
}

// close closes the socket, even if it was never served.
func (c *callers) close() {
	if c.listener != nil {
		c.listener.Close()
	}
}

// serve answers until ctx is done. Its errors do not affect recording.
func (c *callers) serve(ctx context.Context, a *agent.Agent, reload func() error) {
	if c.listener == nil {
		return
	}
	service, err := agentservice.New(agentservice.Options{
		Recorder: a, Access: c.access, Version: version,
		Reload: func(context.Context) error { return reload() },
	})
	if err == nil {
		err = varlinkservice.New(service, varlinkservice.Options{
			Limits: varlinkservice.DefaultLimits(), LimitError: agentservice.LimitError,
			Peer: varlinkservice.PeerOf, Rank: c.access.Rank, Log: c.log,
		}).Serve(ctx, c.listener)
	}
	if err != nil {
		c.log.Error("the varlink socket of the agent is no longer served", "error", err)
	}
}
