// SPDX-License-Identifier: Apache-2.0

// Command dtls performs DTLS handshakes with the library pion: dtls client PORT, or dtls
// server PORT CERTIFICATE KEY, for any number of clients through one socket. Both print
// the negotiated version, cipher suite and group.
package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/dtls/v3/pkg/crypto/elliptic"
)

// timeout limits a handshake.
const timeout = time.Minute

// group is the only offered group, since the library does not report the negotiated one.
const group = elliptic.P384

// handshake performs a handshake and prints its result. The library supports only DTLS 1.2.
func handshake(c *dtls.Conn) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	if err := c.HandshakeContext(ctx); err != nil {
		return err
	}
	state, ok := c.ConnectionState()
	if !ok {
		return fmt.Errorf("the connection has no state")
	}
	fmt.Printf("DTLSv1.2 %s %s\n", state.CipherSuiteID, group)
	return nil
}

func server(address *net.UDPAddr, certificate, key string) error {
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		return err
	}
	l, err := dtls.ListenWithOptions("udp4", address, dtls.WithCertificates(pair), dtls.WithEllipticCurves(group), dtls.WithMTU(400))
	if err != nil {
		return err
	}
	for {
		accepted, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer accepted.Close()
			c, ok := accepted.(*dtls.Conn)
			if !ok {
				return
			}
			if err := handshake(c); err != nil {
				fmt.Fprintln(os.Stderr, err)
				return
			}
			_, _ = io.Copy(c, c)
		}()
	}
}

func client(address *net.UDPAddr) error {
	c, err := dtls.DialWithOptions("udp4", address, dtls.WithInsecureSkipVerify(true), dtls.WithEllipticCurves(group), dtls.WithServerName("secret-host.example"))
	if err != nil {
		return err
	}
	defer c.Close()
	return handshake(c)
}

func run() error {
	port, err := strconv.Atoi(os.Args[2])
	if err != nil {
		return err
	}
	address := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}
	if os.Args[1] == "server" {
		return server(address, os.Args[3], os.Args[4])
	}
	return client(address)
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
