// SPDX-License-Identifier: Apache-2.0

package varlinkservice

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/varlink/go/varlink"
	"golang.org/x/time/rate"

	"crypto-auditing/src/internal/quota"
)

// Conn is the connection of a peer. Two goroutines serve it: one reads calls as they
// arrive, so that it always notices a disconnect; the other answers them one by one.
type Conn struct {
	conn       net.Conn
	peer       Peer
	holder     quota.Holder
	limits     Limits
	limitError string

	// frames and due belong to the reader. due is the deadline for a partly received
	// call; zero if there is none.
	frames frames
	due    time.Time

	// calls are the waiting calls, size is their number of bytes. The reader closes calls
	// after setting refused.
	calls   chan []byte
	size    atomic.Int64
	refused *limitError
	// disconnected is closed when the reader ends.
	disconnected chan struct{}
	// idle is the time since which there is no call, in ns since began, or busy during a
	// call.
	began time.Time
	idle  atomic.Int64

	// mu guards end, the deadline for all replies; zero if there is none.
	mu  sync.Mutex
	end time.Time
}

const (
	busy = -1
	// sendBuffer is the size, in bytes, of the kernel's buffer for data that the peer has
	// not read; the kernel doubles it.
	sendBuffer = 32 << 10
	// lastReply is the time limit for replies after the server's context is done.
	lastReply = time.Second
)

func newConn(c net.Conn, p Peer, h quota.Holder, o Options) *Conn {
	if u, ok := c.(*net.UnixConn); ok {
		_ = u.SetWriteBuffer(sendBuffer) // any size works
	}
	conn := &Conn{
		conn: c, peer: p, holder: h, limits: o.Limits, limitError: o.LimitError,
		calls: make(chan []byte, o.Limits.Waiting), disconnected: make(chan struct{}), began: time.Now(),
	}
	conn.frames = frames{from: receiver{conn}, size: o.Limits.CallSize, depth: o.Limits.CallDepth}
	return conn
}

// CallerOf returns the connection of a call, nil if the call did not come through a
// Server.
func CallerOf(c *varlink.Call) *Conn {
	conn, _ := c.Conn.(*Conn)
	return conn
}

// Peer returns the peer.
func (c *Conn) Peer() Peer { return c.peer }

// Holder returns the peer in its form for quotas.
func (c *Conn) Holder() quota.Holder { return c.holder }

// Disconnected returns a channel that is closed when the peer has closed the connection or its
// side of it, or has exceeded a limit.
func (c *Conn) Disconnected() <-chan struct{} { return c.disconnected }

// serve answers calls one by one until the peer sends no more, exceeds a limit, or ctx is
// done.
func (c *Conn) serve(ctx context.Context, service *varlink.Service, limiter *rate.Limiter) {
	reading := make(chan struct{})
	go func() {
		defer close(reading)
		c.read()
	}()
	stop := context.AfterFunc(ctx, c.shutdown)
	defer func() {
		stop()
		c.conn.Close()
		<-reading
	}()
	for call := range c.calls {
		c.idle.Store(busy)
		_ = limiter.Wait(ctx) // if ctx is done, HandleMessage reports that
		err := service.HandleMessage(ctx, c, call)
		c.size.Add(-int64(len(call)))
		c.idle.Store(int64(time.Since(c.began)))
		if err != nil {
			return // the call is malformed or the reply could not be sent
		}
	}
	if c.refused != nil {
		_, _ = c.Write(ctx, limitReply(c.limitError, c.refused)) // the connection is closed in any case
	}
}

// read reads calls until the peer sends no more or exceeds a limit.
func (c *Conn) read() {
	defer c.markDisconnected()
	defer close(c.calls)
	for {
		call, err := c.frames.read()
		c.due = time.Time{}
		if err != nil {
			errors.As(err, &c.refused)
			return
		}
		if c.size.Add(int64(len(call))) > int64(c.limits.CallSize) && len(c.calls) > 0 {
			c.refused = &limitError{"bytes of waiting calls", c.limits.CallSize}
			return
		}
		select {
		case c.calls <- bytes.Clone(call):
		default:
			c.refused = &limitError{"waiting calls", c.limits.Waiting}
			return
		}
	}
}

// receiver reads from the connection and sets the read deadlines.
type receiver struct{ *Conn }

func (r receiver) Read(b []byte) (int, error) {
	for {
		partial := r.frames.partial()
		if partial && r.due.IsZero() {
			r.due = time.Now().Add(r.limits.CallTime)
		}
		deadline := r.due
		if !partial {
			deadline = r.idleEnd()
		}
		if !r.readBy(deadline) {
			return 0, net.ErrClosed
		}
		n, err := r.conn.Read(b)
		if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
		// Otherwise the server has set the deadline to end reading, which the next
		// iteration notices, or a call has arrived since the deadline was set.
		now := time.Now()
		if partial && !now.Before(deadline) {
			return 0, &limitError{"seconds of a call", int(r.limits.CallTime / time.Second)}
		}
		if !partial && !now.Before(r.idleEnd()) {
			return 0, err
		}
	}
}

// idleEnd returns the time at which the connection ends if no call arrives.
func (c *Conn) idleEnd() time.Time {
	since := c.idle.Load()
	if since == busy {
		return time.Now().Add(c.limits.IdleTime)
	}
	return c.began.Add(time.Duration(since)).Add(c.limits.IdleTime)
}

// readBy sets the read deadline. It returns false if the server is ending.
func (c *Conn) readBy(t time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.end.IsZero() {
		return false
	}
	_ = c.conn.SetReadDeadline(t) // on a closed connection, the read fails
	return true
}

// markDisconnected closes disconnected unless the server is ending. In that case calls are cancelled by their
// context and may still reply.
func (c *Conn) markDisconnected() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.end.IsZero() {
		close(c.disconnected)
	}
}

// shutdown ends reading immediately, and writing soon.
func (c *Conn) shutdown() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	c.end = now.Add(lastReply)
	// Errors do not matter on a closed connection.
	_ = c.conn.SetReadDeadline(now)
	_ = c.conn.SetWriteDeadline(c.end)
}

// Write sends a reply. It ignores the context: the peer may receive the reason even after
// the context is done. The time for it is limited.
func (c *Conn) Write(_ context.Context, reply []byte) (int, error) {
	c.mu.Lock()
	deadline := time.Now().Add(c.limits.ReplyTime)
	if !c.end.IsZero() && c.end.Before(deadline) {
		deadline = c.end
	}
	_ = c.conn.SetWriteDeadline(deadline) // on a closed connection, the write fails
	c.mu.Unlock()
	return c.conn.Write(reply)
}

// errUpgrade: no interface has methods that upgrade a connection.
var errUpgrade = errors.New("connections are not upgraded")

// Read implements varlink.ReadWriterContext, which uses it for upgraded connections. It
// always fails.
func (c *Conn) Read(context.Context, []byte) (int, error) { return 0, errUpgrade }

// ReadBytes always fails, like Read.
func (c *Conn) ReadBytes(context.Context, byte) ([]byte, error) { return nil, errUpgrade }
