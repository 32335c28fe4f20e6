// SPDX-License-Identifier: Apache-2.0

// Package varlinkservice serves varlink interfaces on Unix sockets to untrusted peers: it
// limits what it reads from a peer, and methods can identify their caller.
//
// The protocol (https://varlink.org/Wire-Protocol) is implemented by github.com/varlink/go.
// The server of that library reads frames of any size and does not notice when the peer of
// a running call disconnects. Therefore this package handles the connections and uses the
// library only to dispatch single frames.
package varlinkservice

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/varlink/go/varlink"
	"golang.org/x/time/rate"

	"crypto-auditing/src/internal/quota"
)

// Limits bound the cost of peers. A peer uses at most the memory of two calls of the
// largest size and one reply.
type Limits struct {
	// CallSize is the maximum number of bytes of a call, CallDepth the maximum nesting of
	// arrays and objects.
	CallSize, CallDepth int
	// Waiting is the maximum number of calls that wait on a connection while another is
	// answered. Together they have at most CallSize bytes.
	Waiting int
	// Connections limits the open connections.
	Connections quota.Limits
	// CallTime is the time limit for receiving a call, ReplyTime that for sending a
	// reply, IdleTime that for a connection without a call.
	CallTime, ReplyTime, IdleTime time.Duration
	// Calls is the sustained rate of calls per second over all connections, CallBurst the
	// number answered at once. They keep processor time for the main task of the program.
	Calls     rate.Limit
	CallBurst int
}

// DefaultLimits returns the limits stated in the interface descriptions.
func DefaultLimits() Limits {
	return Limits{
		CallSize: 16 << 10, CallDepth: 32, Waiting: 16,
		Connections: quota.Limits{User: 32, Outsiders: 64, Others: 128},
		CallTime:    5 * time.Second, ReplyTime: 10 * time.Second, IdleTime: 10 * time.Minute,
		Calls: 2000, CallBurst: 500,
	}
}

// Options configure a Server.
type Options struct {
	Limits Limits
	// LimitError is the name of the error that reports a limit to a peer. Its parameters
	// are limit, a string that names the limit, and maximum, an int.
	LimitError string
	// Peer identifies the peer of a connection: PeerOf.
	Peer func(net.Conn) (Peer, error)
	// Rank returns the rank of a peer; nil: only root is trusted.
	Rank func(Peer) quota.Rank
	Log  *slog.Logger
}

// Server serves the interfaces of a varlink.Service. Methods identify their caller with
// CallerOf.
type Server struct {
	service     *varlink.Service
	options     Options
	calls       *rate.Limiter
	connections *quota.Quota
	refusals    refusals
}

// New returns a server for a service.
func New(service *varlink.Service, o Options) *Server {
	if o.Rank == nil {
		o.Rank = func(p Peer) quota.Rank {
			if p.IsRoot() {
				return quota.Trusted
			}
			return quota.Outsider
		}
	}
	return &Server{
		service: service, options: o, calls: rate.NewLimiter(o.Limits.Calls, o.Limits.CallBurst),
		connections: quota.New("connections", o.Limits.Connections), refusals: refusals{log: o.Log, limiter: rate.NewLimiter(rate.Every(time.Minute), 1)},
	}
}

// Serve answers on the connections that l accepts until ctx is done. Then the contexts of
// running calls are done, and each may send one more reply. Serve closes l and returns
// when all connections are closed.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	var connections sync.WaitGroup
	defer connections.Wait()
	// When accepting fails, the connections end as well.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	defer l.Close()
	for {
		c, err := l.Accept()
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return nil
		case passes(err):
			s.refusals.warn("a connection could not be accepted", "error", err)
			select {
			case <-time.After(acceptPause):
			case <-ctx.Done():
			}
			continue
		default:
			return fmt.Errorf("cannot accept connections: %w", err)
		}
		if conn := s.admit(c); conn != nil {
			connections.Go(func() {
				defer s.connections.Release(conn.holder)
				conn.serve(ctx, s.service, s.calls)
			})
		}
	}
}

// acceptPause keeps a process without free file descriptors from spinning.
const acceptPause = 100 * time.Millisecond

// passes reports whether accept(2) may succeed after this error.
func passes(err error) bool {
	for _, errno := range []syscall.Errno{
		syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM,
		syscall.ECONNABORTED, syscall.EPROTO, syscall.EINTR, syscall.EPERM,
	} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// admit counts a connection, or closes it and returns nil.
func (s *Server) admit(c net.Conn) *Conn {
	peer, err := s.options.Peer(c)
	if err != nil {
		s.refusals.warn("a connection was refused", "error", err)
		c.Close()
		return nil
	}
	holder := quota.Holder{User: peer.UID, Rank: s.options.Rank(peer)}
	if full := s.connections.Take(holder); full != nil {
		refused := &limitError{full.Limit, full.Max}
		s.refusals.warn("a connection was refused", "user", peer.UID, "limit", refused)
		s.refuse(c, refused)
		return nil
	}
	return newConn(c, peer, holder, s.options)
}

// refuse sends the reason to the peer and closes the connection. The reply precedes any
// call; a client takes it as the reply to its first.
func (s *Server) refuse(c net.Conn, reason *limitError) {
	// The socket's buffer is empty, so this does not block. The reply is optional.
	_ = c.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = c.Write(limitReply(s.options.LimitError, reason))
	c.Close()
}

// limitReply returns the frame that reports a limit to a peer.
func limitReply(name string, reason *limitError) []byte {
	var reply struct {
		Error      string `json:"error"`
		Parameters struct {
			Limit   string `json:"limit"`
			Maximum int    `json:"maximum"`
		} `json:"parameters"`
	}
	reply.Error = name
	reply.Parameters.Limit, reply.Parameters.Maximum = reason.limit, reason.maximum
	text, err := json.Marshal(reply)
	if err != nil {
		return nil // strings and numbers cannot fail
	}
	return append(text, 0)
}

// refusals logs refused peers at most once a minute, because a peer can cause refusals
// at any rate.
type refusals struct {
	log        *slog.Logger
	limiter    *rate.Limiter
	suppressed atomic.Int64
}

func (r *refusals) warn(message string, about ...any) {
	if !r.limiter.Allow() {
		r.suppressed.Add(1)
		return
	}
	r.log.Warn(message, append(about, "suppressed_before", r.suppressed.Swap(0))...)
}
