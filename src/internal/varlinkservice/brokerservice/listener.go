// SPDX-License-Identifier: Apache-2.0

package brokerservice

import (
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
)

// Listener counts the open connections that it and its duplicates have accepted.
type Listener struct {
	net.Listener
	open *atomic.Int64
}

// NewListener returns a Listener on top of l.
func NewListener(l net.Listener) *Listener { return &Listener{Listener: l, open: new(atomic.Int64)} }

// Duplicate returns another Listener for the same socket, to be closed separately.
func (l *Listener) Duplicate() (*Listener, error) {
	u, ok := l.Listener.(*net.UnixListener)
	if !ok {
		return nil, fmt.Errorf("cannot duplicate a socket: %T is not a socket", l.Listener)
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

// sendBuffer is the size, in bytes, of the kernel's buffer for data that the peer has not
// read; the kernel doubles it.
const sendBuffer = 64 << 10

// Open returns the number of open connections.
func (l *Listener) Open() int { return int(l.open.Load()) }

// Accept implements net.Listener.
func (l *Listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if u, ok := c.(*net.UnixConn); ok {
		_ = u.SetWriteBuffer(sendBuffer) // any size works
	}
	l.open.Add(1)
	return &counted{Conn: c, listener: l}, nil
}

// counted is a connection that its listener counts.
type counted struct {
	net.Conn
	listener *Listener
	closed   sync.Once
}

// SyscallConn implements syscall.Conn, which is needed to identify the peer.
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
