// SPDX-License-Identifier: Apache-2.0

// Dtls makes a handshake of DTLS with the library pion: dtls client PORT, or dtls server
// PORT CERTIFICATE KEY, for any number of clients through one socket. Either end writes
// which version, cipher suite and group it agreed on.
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

// patience bounds a handshake.
const patience = time.Minute

// group is the only one that is offered, since the library does not report it.
const group = elliptic.P384

// shake makes the handshake and reports about it. The library has only one version.
func shake(c *dtls.Conn) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
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
			if err := shake(c); err != nil {
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
	return shake(c)
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
