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

// Conn is the connection of a peer. Two goroutines serve it: one reads calls
// as they come, so that it always knows whether the peer is there, the other
// answers them, one after another.
type Conn struct {
	conn       net.Conn
	peer       Peer
	holder     quota.Holder
	limits     Limits
	limitError string

	// frames and due are the reader's. due is by when a call that has begun to
	// come must be complete; zero: none has.
	frames frames
	due    time.Time

	// calls are those that wait, size is how many bytes they have. The reader
	// closes it, after setting refused.
	calls   chan []byte
	size    atomic.Int64
	refused *limitError
	// gone is closed when no more is read from the peer.
	gone chan struct{}
	// idle is since when there is no call, in ns since began; busy while there
	// is one.
	began time.Time
	idle  atomic.Int64

	// mu guards end, by when all must be written; zero: no hurry.
	mu  sync.Mutex
	end time.Time
}

const (
	busy = -1
	// sendBuffer bounds, in bytes, what the kernel keeps for a peer that does
	// not read; the kernel doubles it.
	sendBuffer = 32 << 10
	// lastReply is how long replies may take to be read once the server ends.
	lastReply = time.Second
)

func newConn(c net.Conn, p Peer, h quota.Holder, o Options) *Conn {
	if u, ok := c.(*net.UnixConn); ok {
		_ = u.SetWriteBuffer(sendBuffer) // it works with any
	}
	conn := &Conn{
		conn: c, peer: p, holder: h, limits: o.Limits, limitError: o.LimitError,
		calls: make(chan []byte, o.Limits.Waiting), gone: make(chan struct{}), began: time.Now(),
	}
	conn.frames = frames{from: receiver{conn}, size: o.Limits.CallSize, depth: o.Limits.CallDepth}
	return conn
}

// CallerOf returns the connection that a call came on, and nil if it did not
// come through a Server.
func CallerOf(c *varlink.Call) *Conn {
	conn, _ := c.Conn.(*Conn)
	return conn
}

// Peer is who is at the other end.
func (c *Conn) Peer() Peer { return c.peer }

// Holder is the peer as quotas know it.
func (c *Conn) Holder() quota.Holder { return c.holder }

// Gone is closed when the peer has closed the connection, or its side of it,
// or has broken a limit.
func (c *Conn) Gone() <-chan struct{} { return c.gone }

// serve answers calls, each when it is its turn, until the peer sends no more,
// a limit is broken, or ctx is done.
func (c *Conn) serve(ctx context.Context, service *varlink.Service, turn *rate.Limiter) {
	reading := make(chan struct{})
	go func() {
		defer close(reading)
		c.read()
	}()
	stop := context.AfterFunc(ctx, c.hurry)
	defer func() {
		stop()
		c.conn.Close()
		<-reading
	}()
	for call := range c.calls {
		c.idle.Store(busy)
		_ = turn.Wait(ctx) // once ctx is done, the call is answered with that
		err := service.HandleMessage(ctx, c, call)
		c.size.Add(-int64(len(call)))
		c.idle.Store(int64(time.Since(c.began)))
		if err != nil {
			return // the call is malformed, or the reply could not be sent
		}
	}
	if c.refused != nil {
		_, _ = c.Write(ctx, limitReply(c.limitError, c.refused)) // it is closed anyway
	}
}

// read reads calls, until the peer sends no more or breaks a limit.
func (c *Conn) read() {
	defer c.leave()
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

// receiver reads from the connection with the deadlines for what is read.
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
		// Else the deadline is that of the server's end, which the next round
		// finds, or a call has come since it was set.
		now := time.Now()
		if partial && !now.Before(deadline) {
			return 0, &limitError{"seconds of a call", int(r.limits.CallTime / time.Second)}
		}
		if !partial && !now.Before(r.idleEnd()) {
			return 0, err
		}
	}
}

// idleEnd is when the connection ends if no call comes.
func (c *Conn) idleEnd() time.Time {
	since := c.idle.Load()
	if since == busy {
		return time.Now().Add(c.limits.IdleTime)
	}
	return c.began.Add(time.Duration(since)).Add(c.limits.IdleTime)
}

// readBy sets the deadline for reading, unless the server ends.
func (c *Conn) readBy(t time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.end.IsZero() {
		return false
	}
	_ = c.conn.SetReadDeadline(t) // a closed connection says so when it is read
	return true
}

// leave says that the peer is gone, unless the server ends: then calls learn
// that from their context and may still reply.
func (c *Conn) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.end.IsZero() {
		close(c.gone)
	}
}

// hurry ends reading, and soon writing too.
func (c *Conn) hurry() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	c.end = now.Add(lastReply)
	// A closed connection needs neither.
	_ = c.conn.SetReadDeadline(now)
	_ = c.conn.SetWriteDeadline(c.end)
}

// Write sends a reply. It does not look at the context: also when that is
// done the peer may be told why, and the time for it is bounded.
func (c *Conn) Write(_ context.Context, reply []byte) (int, error) {
	c.mu.Lock()
	deadline := time.Now().Add(c.limits.ReplyTime)
	if !c.end.IsZero() && c.end.Before(deadline) {
		deadline = c.end
	}
	_ = c.conn.SetWriteDeadline(deadline) // a closed connection says so when it is written
	c.mu.Unlock()
	return c.conn.Write(reply)
}

// errUpgrade: no interface of ours has methods that make something else of a
// connection.
var errUpgrade = errors.New("connections are not upgraded")

// Read implements varlink.ReadWriterContext, which has it for upgraded
// connections. It fails.
func (c *Conn) Read(context.Context, []byte) (int, error) { return 0, errUpgrade }

// ReadBytes is as Read.
func (c *Conn) ReadBytes(context.Context, byte) ([]byte, error) { return nil, errUpgrade }
