// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"
)

const (
	// openPings is the highest number of pending pings of a connection, below
	// the limit of the bus (128, dbus-daemon(1)).
	openPings = 100
	// userPingers is the highest number of connections for pinging the clients of
	// one user. A bus allows a user 256 connections.
	userPingers = 3
	// idlePinger is how long an unused connection is kept.
	idlePinger = 10 * time.Second
	// maxAnswer bounds a message to such a connection, in bytes.
	maxAnswer = 192 << 10
	// pingPause replaces the wait for an answer if the bus refuses a ping.
	pingPause = 100 * time.Millisecond
)

// pingers are the connections on which clients are pinged. Each user has its own,
// so that clients which do not answer neither delay pings to other users' clients
// nor use up the pending calls of the name's owner.
type pingers struct {
	address string
	log     *slog.Logger
	// ended is done once the service has ended.
	ended context.Context

	mu    sync.Mutex
	users map[uint32][]*pinger
}

// pinger is a connection for pings. pingers.mu guards its fields.
type pinger struct {
	conn *dbus.Conn
	open int
	// used is the time of its last use.
	used time.Time
}

func newPingers(ctx context.Context, address string, log *slog.Logger) *pingers {
	return &pingers{address: address, log: log, ended: ctx, users: map[uint32][]*pinger{}}
}

// nullHandler serves no objects and listens to no signals.
type nullHandler struct{}

func (nullHandler) LookupObject(dbus.ObjectPath) (dbus.ServerObject, bool) { return nil, false }
func (nullHandler) DeliverSignal(string, string, *dbus.Signal)             {}

// get returns a connection for a ping, nil if all have too many pending calls.
func (p *pingers) get(user uint32) (*pinger, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.users[user] = slices.DeleteFunc(p.users[user], func(connection *pinger) bool { return !connection.conn.Connected() })
	for _, connection := range p.users[user] {
		if connection.open < openPings {
			connection.open++
			return connection, nil
		}
	}
	if len(p.users[user]) >= userPingers {
		return nil, nil
	}
	_, conn, err := Connect(p.address, Options{MaxMessage: maxAnswer}, dbus.WithHandler(nullHandler{}), dbus.WithSignalHandler(nullHandler{}))
	if err != nil {
		return nil, err
	}
	connection := &pinger{conn: conn, open: 1}
	p.users[user] = append(p.users[user], connection)
	return connection, nil
}

// put returns a connection after a ping.
func (p *pingers) put(connection *pinger) {
	p.mu.Lock()
	defer p.mu.Unlock()
	connection.open--
	connection.used = time.Now()
}

// sweep closes unused connections.
func (p *pingers) sweep() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for user, all := range p.users {
		kept := all[:0]
		for _, connection := range all {
			if connection.conn.Connected() && (connection.open > 0 || time.Since(connection.used) < idlePinger) {
				kept = append(kept, connection)
				continue
			}
			connection.conn.Close()
		}
		if p.users[user] = kept; len(kept) == 0 {
			delete(p.users, user)
		}
	}
}

// close closes all connections.
func (p *pingers) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, all := range p.users {
		for _, connection := range all {
			connection.conn.Close()
		}
	}
}

// ping waits for any answer of a client, or for its disconnection. The error
// reports that the service has ended.
func (p *pingers) ping(client string, user uint32) error {
	failed := false
	for p.ended.Err() == nil {
		connection, err := p.get(user)
		if err == nil && connection != nil {
			err = connection.ping(client)
			p.put(connection)
			if err == nil {
				return nil
			}
		}
		if err != nil && !failed && p.ended.Err() == nil && !errors.Is(err, errRefused) {
			failed = true
			p.log.Warn("a client cannot be asked whether it reads what it is sent; trying again", "error", err)
		}
		select {
		case <-p.ended.Done():
		case <-time.After(pingPause):
		}
	}
	return dbus.ErrClosed
}

// errRefused indicates that this side has too many pending calls on the bus.
var errRefused = errors.New("the bus refuses a ping")

// ping pings a client. An error means that no ping was sent.
func (p *pinger) ping(client string) error {
	call := <-p.conn.Object(client, "/").Go("org.freedesktop.DBus.Peer.Ping", dbus.FlagNoAutoStart, nil).Done
	var answer dbus.Error
	switch {
	case call.Err == nil:
		return nil
	case !errors.As(call.Err, &answer):
		return fmt.Errorf("cannot ping a client: %w", call.Err)
	}
	switch answer.Name {
	case "org.freedesktop.DBus.Error.LimitsExceeded":
		return errRefused
	case "org.freedesktop.DBus.Error.AccessDenied":
		// The bus refuses it: the bus policy is not installed.
		time.Sleep(pingPause)
	}
	return nil
}
