// SPDX-License-Identifier: Apache-2.0

package opener

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxConnections is the number of connections that are served at a time. The agent
	// has one.
	maxConnections = 4
	// patience is how long a connection may be idle.
	patience = 10 * time.Second
)

// Server answers the requests of one user.
type Server struct {
	// UID is the only user that is served.
	UID uint32
	// Idle is how long Serve waits for a connection before it returns; 0: forever.
	Idle time.Duration
	Log  *slog.Logger
}

// Serve answers on a listening socket until ctx is done or the server is idle. It closes
// the socket.
func (s *Server) Serve(ctx context.Context, l *net.UnixListener) error {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	defer l.Close()
	var serving sync.WaitGroup
	defer serving.Wait()
	semaphore := make(chan struct{}, maxConnections)
	for {
		semaphore <- struct{}{}
		if s.Idle > 0 {
			if err := l.SetDeadline(time.Now().Add(s.Idle)); err != nil {
				return fmt.Errorf("cannot wait for connections: %w", err)
			}
		}
		c, err := l.AcceptUnix()
		var timeout net.Error
		switch {
		case ctx.Err() != nil, errors.As(err, &timeout) && timeout.Timeout() && len(semaphore) == 1:
			return nil
		case errors.As(err, &timeout) && timeout.Timeout():
			<-semaphore
			continue
		case err != nil:
			return fmt.Errorf("cannot accept connections: %w", err)
		}
		serving.Go(func() {
			defer func() { <-semaphore }()
			defer c.Close()
			end := context.AfterFunc(ctx, func() { c.Close() })
			defer end()
			if err := s.authorise(c); err != nil {
				s.Log.Warn("a connection was refused", "error", err)
				return
			}
			s.answer(c)
		})
	}
}

// authorise returns an error unless the served user is the peer (unix(7), SO_PEERCRED).
func (s *Server) authorise(c *net.UnixConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var peer *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) {
		peer, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err := errors.Join(err, credErr); err != nil {
		return fmt.Errorf("cannot identify the peer: %w", err)
	}
	if peer.Uid != s.UID {
		return fmt.Errorf("user %d is not served", peer.Uid)
	}
	return nil
}

// answer answers the requests of a connection until the peer closes it, is idle for too
// long, or sends an invalid request.
func (s *Server) answer(c *net.UnixConn) {
	message := make([]byte, requestSize+1)
	for {
		// On a closed connection, the read fails.
		_ = c.SetDeadline(time.Now().Add(patience))
		n, err := c.Read(message)
		if err != nil || n == 0 {
			return
		}
		r, ok := parse(message[:n])
		if !ok {
			s.Log.Warn("an invalid request was refused", "bytes", n)
			_ = reply(c, unix.EINVAL)
			return
		}
		if err := reply(c, pass(c, r)); err != nil {
			return
		}
	}
}

// passed reports that the reply was sent with the descriptor.
const passed = syscall.Errno(0)

// pass opens a file and sends it. Otherwise it returns the error to reply.
func pass(c *net.UnixConn, r request) syscall.Errno {
	f, err := open(r)
	var errno syscall.Errno
	switch {
	case err == nil:
	case errors.As(err, &errno):
		return errno
	default:
		return unix.EIO
	}
	defer f.Close()
	raw, err := f.SyscallConn()
	if err != nil {
		return unix.EIO
	}
	err = raw.Control(func(fd uintptr) {
		_, _, err := c.WriteMsgUnix(make([]byte, replySize), unix.UnixRights(int(fd)), nil)
		if err != nil {
			errno = unix.EIO
		}
	})
	if err != nil {
		return unix.EIO
	}
	return errno
}

// reply sends an error, unless it is passed.
func reply(c *net.UnixConn, errno syscall.Errno) error {
	if errno == passed {
		return nil
	}
	_, err := c.Write(binary.NativeEndian.AppendUint32(nil, uint32(errno)))
	return err
}
