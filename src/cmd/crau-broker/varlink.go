// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"log/slog"

	"crypto-auditing/src/internal/broker"
	"crypto-auditing/src/internal/program"
	"crypto-auditing/src/internal/varlinkservice"
	"crypto-auditing/src/internal/varlinkservice/brokerservice"
)

// activatedName is the name of the socket in the socket unit (FileDescriptorName=).
const activatedName = "varlink"

// callers is the socket on which clients call the broker without a bus.
type callers struct {
	listener *brokerservice.Listener // nil: no socket
	log      *slog.Logger
}

// listenForCallers takes the socket of the service manager, or else creates one at path
// unless path is empty.
func listenForCallers(path string, log *slog.Logger) (*callers, error) {
	l, err := varlinkservice.Activated(activatedName)
	switch {
	case err != nil || l == nil && path == "":
		return &callers{log: log}, err
	case l == nil:
		var group *uint32
		if group, err = program.Readers(); err == nil {
			l, err = varlinkservice.Listen(path, group)
		}
	case path != "":
		l.Close()
		err = program.Usage(errors.New("--varlink makes a socket, and the service manager has passed one: use one of them"))
	}
	if err != nil {
		return nil, err
	}
	return &callers{listener: brokerservice.NewListener(l), log: log}, nil
}

// listening reports whether there is a socket.
func (c *callers) listening() bool { return c.listener != nil }

// busy reports whether clients are connected.
func (c *callers) busy() bool { return c.listener != nil && c.listener.Open() > 0 }

// close closes the socket, even if it was never served.
func (c *callers) close() {
	if c.listener != nil {
		c.listener.Close()
	}
}

// serving serves clients while f runs, and returns the result of f. It may be called
// repeatedly.
func (c *callers) serving(b *broker.Broker, group *uint32, f func() error) error {
	if c.listener == nil {
		return f()
	}
	service, err := brokerservice.New(brokerservice.Options{Broker: b, Group: group, Version: version})
	if err != nil {
		return err
	}
	// The server closes its listener.
	listener, err := c.listener.Duplicate()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- varlinkservice.New(service, varlinkservice.Options{
			Limits: brokerservice.Limits(), LimitError: brokerservice.LimitError,
			Peer: varlinkservice.PeerOf, Rank: brokerservice.Rank(group), Log: c.log,
		}).Serve(ctx, listener)
	}()
	err = f()
	cancel()
	return errors.Join(err, <-done)
}
