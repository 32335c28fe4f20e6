// SPDX-License-Identifier: Apache-2.0

// Command quic performs QUIC handshakes with a library, net (golang.org/x/net/quic) or go
// (quic-go): quic LIBRARY server CERTIFICATE KEY prints its address and serves one client
// after another; quic LIBRARY client ADDRESS connects. Both print the negotiated version
// of TLS, cipher suite and group.
package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

// timeout limits a whole connection.
const timeout = time.Minute

const protocol = "test"

// connection is one end of a connection after the handshake.
type connection interface {
	state() tls.ConnectionState
	// open and accept return the client's and the server's end of a stream.
	open() (stream, error)
	accept() (stream, error)
	// wait returns when the other end has closed the connection.
	wait()
}

type stream interface {
	io.Reader
	io.Writer
	// finish closes the sending direction.
	finish()
}

// library is one implementation of QUIC.
type library struct {
	// listen returns the address and the function that returns the next connection.
	listen func(*tls.Config) (net.Addr, func() (connection, error), error)
	// dial returns a connection and the function that closes it.
	dial func(context.Context, string, *tls.Config) (connection, func(), error)
}

var libraries = map[string]library{
	"net": {listenNet, dialNet},
	"go":  {listenGo, dialGo},
}

func report(c connection) {
	s := c.state()
	fmt.Printf("version=%d suite=%d group=%d\n", s.Version, s.CipherSuite, s.CurveID)
}

func server(l library, certificate, key string) error {
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		return err
	}
	address, next, err := l.listen(&tls.Config{
		Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13, NextProtos: []string{protocol},
	})
	if err != nil {
		return err
	}
	fmt.Println(address)
	for {
		c, err := next()
		if err != nil {
			return err
		}
		s, err := c.accept()
		if err != nil {
			continue
		}
		report(c)
		_, _ = io.Copy(s, s)
		s.finish()
		c.wait()
	}
}

func client(l library, address string) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	c, end, err := l.dial(ctx, address, &tls.Config{
		InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, NextProtos: []string{protocol}, ServerName: "secret-host.example",
	})
	if err != nil {
		return err
	}
	defer end()
	s, err := c.open()
	if err != nil {
		return err
	}
	if _, err := s.Write([]byte("x")); err != nil {
		return err
	}
	s.finish()
	if _, err := io.ReadAll(s); err != nil {
		return err
	}
	report(c)
	return nil
}

func main() {
	var err error
	switch l, known := libraries[os.Args[1]]; {
	case !known:
		err = fmt.Errorf("unknown library %s", os.Args[1])
	case os.Args[2] == "server":
		err = server(l, os.Args[3], os.Args[4])
	default:
		err = client(l, os.Args[3])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
