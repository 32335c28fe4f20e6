// SPDX-License-Identifier: Apache-2.0

// Quic makes a handshake of QUIC: quic server CERTIFICATE KEY writes its address and
// serves one client after another, quic client ADDRESS connects. Either end writes which
// version of TLS, cipher suite and group it agreed on.
package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/net/quic"
)

// patience bounds a handshake and what follows it.
const patience = time.Minute

const protocol = "test"

func say(c *quic.Conn) {
	s := c.ConnectionState()
	fmt.Printf("version=%d suite=%d group=%d\n", s.Version, s.CipherSuite, s.CurveID)
}

func server(certificate, key string) error {
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		return err
	}
	endpoint, err := quic.Listen("udp", "127.0.0.1:0", &quic.Config{TLSConfig: &tls.Config{
		Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13, NextProtos: []string{protocol},
	}})
	if err != nil {
		return err
	}
	fmt.Println(endpoint.LocalAddr())
	for {
		ctx := context.Background()
		c, err := endpoint.Accept(ctx)
		if err != nil {
			return err
		}
		stream, err := c.AcceptStream(ctx)
		if err != nil {
			continue
		}
		say(c)
		_, _ = io.Copy(stream, stream)
		stream.Close()
		_ = c.Wait(ctx)
	}
}

func client(address string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	endpoint, err := quic.Listen("udp", "127.0.0.1:0", nil)
	if err != nil {
		return err
	}
	c, err := endpoint.Dial(ctx, "udp", address, &quic.Config{TLSConfig: &tls.Config{
		InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, NextProtos: []string{protocol}, ServerName: "secret-host.example",
	}})
	if err != nil {
		return err
	}
	stream, err := c.NewStream(ctx)
	if err != nil {
		return err
	}
	stream.SetReadContext(ctx)
	if _, err := stream.Write([]byte("x")); err != nil {
		return err
	}
	stream.CloseWrite()
	if _, err := io.ReadAll(stream); err != nil {
		return err
	}
	say(c)
	return endpoint.Close(ctx)
}

func main() {
	var err error
	if len(os.Args) > 3 && os.Args[1] == "server" {
		err = server(os.Args[2], os.Args[3])
	} else {
		err = client(os.Args[2])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
