// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"net"

	"github.com/quic-go/quic-go"
)

type goConnection struct{ *quic.Conn }

func (c goConnection) state() tls.ConnectionState { return c.ConnectionState().TLS }
func (c goConnection) wait()                      { <-c.Context().Done() }

func (c goConnection) open() (stream, error) {
	s, err := c.OpenStream()
	return goStream{s}, err
}

func (c goConnection) accept() (stream, error) {
	s, err := c.AcceptStream(context.Background())
	return goStream{s}, err
}

type goStream struct{ *quic.Stream }

func (s goStream) finish() { _ = s.Close() }

func listenGo(c *tls.Config) (net.Addr, func() (connection, error), error) {
	listener, err := quic.ListenAddr("127.0.0.1:0", c, nil)
	if err != nil {
		return nil, nil, err
	}
	return listener.Addr(), func() (connection, error) {
		c, err := listener.Accept(context.Background())
		return goConnection{c}, err
	}, nil
}

func dialGo(ctx context.Context, address string, c *tls.Config) (connection, func(), error) {
	connected, err := quic.DialAddr(ctx, address, c, nil)
	return goConnection{connected}, func() { _ = connected.CloseWithError(0, "") }, err
}
