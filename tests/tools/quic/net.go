// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"net"

	"golang.org/x/net/quic"
)

type netConnection struct{ *quic.Conn }

func (c netConnection) state() tls.ConnectionState { return c.ConnectionState() }
func (c netConnection) wait()                      { _ = c.Wait(context.Background()) }

func (c netConnection) open() (stream, error) {
	s, err := c.NewStream(context.Background())
	return netStream{s}, err
}

func (c netConnection) accept() (stream, error) {
	s, err := c.AcceptStream(context.Background())
	return netStream{s}, err
}

type netStream struct{ *quic.Stream }

func (s netStream) finish() { s.CloseWrite() }

func listenNet(c *tls.Config) (net.Addr, func() (connection, error), error) {
	endpoint, err := quic.Listen("udp", "127.0.0.1:0", &quic.Config{TLSConfig: c})
	if err != nil {
		return nil, nil, err
	}
	return net.UDPAddrFromAddrPort(endpoint.LocalAddr()), func() (connection, error) {
		c, err := endpoint.Accept(context.Background())
		return netConnection{c}, err
	}, nil
}

func dialNet(ctx context.Context, address string, c *tls.Config) (connection, func(), error) {
	endpoint, err := quic.Listen("udp", "127.0.0.1:0", nil)
	if err != nil {
		return nil, nil, err
	}
	connected, err := endpoint.Dial(ctx, "udp", address, &quic.Config{TLSConfig: c})
	return netConnection{connected}, func() { _ = endpoint.Close(ctx) }, err
}
