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
	// openPings is how many pings of a connection wait for an answer: fewer than a
	// bus allows (128, dbus-daemon(1)).
	openPings = 100
	// userPingers is how many connections there are for pinging the clients of one
	// user. A bus lets a user have 256 connections.
	userPingers = 3
	// idlePinger is how long a connection is kept that nothing is asked on.
	idlePinger = 10 * time.Second
	// maxAnswer is how long a message to such a connection may be, in bytes.
	maxAnswer = 192 << 10
	// pingPause is how long to wait where the bus does not let us ask, instead of
	// the answer.
	pingPause = 100 * time.Millisecond
)

// pingers are connections on which clients are pinged: each user has its own, so
// that clients which do not answer keep no other user's from being asked, and
// take none of the calls that the owner of the name may have open.
type pingers struct {
	address string
	log     *slog.Logger
	// ended is done when the service has ended.
	ended context.Context

	mu    sync.Mutex
	users map[uint32][]*pinger
}

// pinger is a connection for pings. pingers.mu guards its fields.
type pinger struct {
	conn *dbus.Conn
	open int
	// used is when it was last used.
	used time.Time
}

func newPingers(ctx context.Context, address string, log *slog.Logger) *pingers {
	return &pingers{address: address, log: log, ended: ctx, users: map[uint32][]*pinger{}}
}

// nothing serves no objects and listens to no signals.
type nothing struct{}

func (nothing) LookupObject(dbus.ObjectPath) (dbus.ServerObject, bool) { return nil, false }
func (nothing) DeliverSignal(string, string, *dbus.Signal)             {}

// get returns a connection for a ping; nil if all have too many open.
func (p *pingers) get(user uint32) (*pinger, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.users[user] = slices.DeleteFunc(p.users[user], func(one *pinger) bool { return !one.conn.Connected() })
	for _, one := range p.users[user] {
		if one.open < openPings {
			one.open++
			return one, nil
		}
	}
	if len(p.users[user]) >= userPingers {
		return nil, nil
	}
	_, conn, err := Connect(p.address, Options{MaxMessage: maxAnswer}, dbus.WithHandler(nothing{}), dbus.WithSignalHandler(nothing{}))
	if err != nil {
		return nil, err
	}
	one := &pinger{conn: conn, open: 1}
	p.users[user] = append(p.users[user], one)
	return one, nil
}

// put gives a connection back.
func (p *pingers) put(one *pinger) {
	p.mu.Lock()
	defer p.mu.Unlock()
	one.open--
	one.used = time.Now()
}

// sweep closes connections that are not used.
func (p *pingers) sweep() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for user, all := range p.users {
		kept := all[:0]
		for _, one := range all {
			if one.conn.Connected() && (one.open > 0 || time.Since(one.used) < idlePinger) {
				kept = append(kept, one)
				continue
			}
			one.conn.Close()
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
		for _, one := range all {
			one.conn.Close()
		}
	}
}

// ping waits for a client's answer, whatever it is. It ends when the client
// leaves the bus. The error says that the service has ended.
func (p *pingers) ping(client string, user uint32) error {
	failed := false
	for p.ended.Err() == nil {
		one, err := p.get(user)
		if err == nil && one != nil {
			err = one.ping(client)
			p.put(one)
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

// errRefused says that the bus has too many open calls of ours.
var errRefused = errors.New("the bus refuses a ping")

// ping pings a client. The error says that it was not asked.
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
		// The bus does not let us ask: our policy is not installed.
		time.Sleep(pingPause)
	}
	return nil
}
