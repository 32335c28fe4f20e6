// SPDX-License-Identifier: Apache-2.0

package brokerservice

import (
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
)

// Listener counts the connections that it, or a duplicate of it, has accepted
// and that are open.
type Listener struct {
	net.Listener
	open *atomic.Int64
}

// NewListener returns a Listener that accepts what l does.
func NewListener(l net.Listener) *Listener { return &Listener{Listener: l, open: new(atomic.Int64)} }

// Duplicate returns another Listener for the same socket, which is closed on its
// own.
func (l *Listener) Duplicate() (*Listener, error) {
	u, ok := l.Listener.(*net.UnixListener)
	if !ok {
		return nil, fmt.Errorf("cannot duplicate a socket: %T is none", l.Listener)
	}
	f, err := u.File()
	if err != nil {
		return nil, fmt.Errorf("cannot duplicate a socket: %w", err)
	}
	defer f.Close()
	other, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("cannot duplicate a socket: %w", err)
	}
	return &Listener{Listener: other, open: l.open}, nil
}

// sendBuffer bounds, in bytes, what the kernel keeps for a peer that does not
// read; the kernel doubles it.
const sendBuffer = 64 << 10

// Open is how many connections there are.
func (l *Listener) Open() int { return int(l.open.Load()) }

// Accept implements net.Listener.
func (l *Listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if u, ok := c.(*net.UnixConn); ok {
		_ = u.SetWriteBuffer(sendBuffer) // it works with any
	}
	l.open.Add(1)
	return &counted{Conn: c, listener: l}, nil
}

// counted is a connection that is counted.
type counted struct {
	net.Conn
	listener *Listener
	closed   sync.Once
}

// SyscallConn implements syscall.Conn: who the peer is is asked of the socket.
func (c *counted) SyscallConn() (syscall.RawConn, error) {
	s, ok := c.Conn.(syscall.Conn)
	if !ok {
		return nil, syscall.ENOTSOCK
	}
	return s.SyscallConn()
}

// Close implements net.Conn.
func (c *counted) Close() error {
	c.closed.Do(func() { c.listener.open.Add(-1) })
	return c.Conn.Close()
}
