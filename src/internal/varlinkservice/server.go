// SPDX-License-Identifier: Apache-2.0

// Package varlinkservice serves varlink interfaces on Unix sockets to peers
// that it does not trust: what a peer sends is read through limits, and who it
// is, is known to the methods.
//
// The protocol (https://varlink.org/Wire-Protocol) is that of
// github.com/varlink/go. Its own server reads frames of any size and never
// notices that the peer of a running call has left, so that the connections
// are ours, and it dispatches single frames.
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

// Limits bound what peers can cost. A peer never costs more memory than two
// calls of the largest size and one reply.
type Limits struct {
	// CallSize is how many bytes a call may have, CallDepth how many levels
	// of arrays and objects.
	CallSize, CallDepth int
	// Waiting is how many calls of a connection may wait while another is
	// answered. Together they have at most CallSize bytes.
	Waiting int
	// Connections bounds the connections that are open.
	Connections quota.Limits
	// CallTime is how long a call may take to come in, ReplyTime how long a
	// reply may take to be read, IdleTime how long a connection may be
	// without a call.
	CallTime, ReplyTime, IdleTime time.Duration
	// Of all calls, CallBurst are answered at once and Calls a second in the long
	// run: answering must not take the processor from what the program is for.
	Calls     rate.Limit
	CallBurst int
}

// DefaultLimits are those that the interface descriptions state.
func DefaultLimits() Limits {
	return Limits{
		CallSize: 16 << 10, CallDepth: 32, Waiting: 16,
		Connections: quota.Limits{User: 32, Strangers: 64, Others: 128},
		CallTime:    5 * time.Second, ReplyTime: 10 * time.Second, IdleTime: 10 * time.Minute,
		Calls: 2000, CallBurst: 500,
	}
}

// Options configure a Server.
type Options struct {
	Limits Limits
	// LimitError is the name of the error that tells a peer about a limit. Its
	// parameters are limit, a string that says which, and maximum, an int.
	LimitError string
	// Peer tells who is at the other end of a connection: PeerOf.
	Peer func(net.Conn) (Peer, error)
	// Rank tells how much a peer is trusted with; nil: root alone is.
	Rank func(Peer) quota.Rank
	Log  *slog.Logger
}

// Server serves the interfaces of a varlink.Service. A method finds its caller
// by CallerOf.
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
			return quota.Stranger
		}
	}
	return &Server{
		service: service, options: o, calls: rate.NewLimiter(o.Limits.Calls, o.Limits.CallBurst),
		connections: quota.New("connections", o.Limits.Connections), refusals: refusals{log: o.Log, limiter: rate.NewLimiter(rate.Every(time.Minute), 1)},
	}
}

// Serve answers on the connections that l accepts until ctx is done. Then
// running calls find their context done and may reply once more. Serve returns
// when all connections are closed, and has closed l.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	var connections sync.WaitGroup
	defer connections.Wait()
	// Without a listener or its Serve, connections end as well.
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

// acceptPause keeps a process that has no file descriptors left from
// spinning.
const acceptPause = 100 * time.Millisecond

// passes reports whether accept(2) may work again after such an error.
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

// admit counts a connection in, or closes it and returns nil.
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

// refuse tells the peer why and closes the connection. The reply comes before
// any call; a client takes it for that to its first.
func (s *Server) refuse(c net.Conn, reason *limitError) {
	// The socket's buffer is empty: this does not block, and is no more than
	// a courtesy.
	_ = c.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = c.Write(limitReply(s.options.LimitError, reason))
	c.Close()
}

// limitReply is the frame that tells a peer about a limit.
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
		return nil // strings and a number do not fail
	}
	return append(text, 0)
}

// refusals logs that peers were refused, at most once a minute, since a
// peer can have itself refused as often as it likes.
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
