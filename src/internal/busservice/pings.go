// SPDX-License-Identifier: Apache-2.0

package busservice

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

// question is one round of something that several wait for.
type question struct {
	done chan struct{}
	err  error
}

// wait returns when the round is over. The error is that of the round, or of ctx.
func (q *question) wait(ctx context.Context) error {
	select {
	case <-q.done:
		return q.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// rounds runs something again and again, one round at a time: all who have come
// during a round share the next. Its methods may be called concurrently.
type rounds struct {
	run func() error
	// idle is called when nobody waits for another round; nil: nothing is.
	idle func()

	mu sync.Mutex
	// under is the round that runs, waiting the one after it.
	under, waiting *question
}

// join returns a round that begins after the call.
func (r *rounds) join() *question {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.under == nil:
		r.under = &question{done: make(chan struct{})}
		go r.work()
		return r.under
	case r.waiting == nil:
		r.waiting = &question{done: make(chan struct{})}
	}
	return r.waiting
}

// work runs rounds until nobody waits for another one.
func (r *rounds) work() {
	for over := false; !over; {
		err := r.run()
		r.mu.Lock()
		q := r.under
		q.err = err
		r.under, r.waiting = r.waiting, nil
		over = r.under == nil
		r.mu.Unlock()
		close(q.done)
	}
	if r.idle != nil {
		r.idle()
	}
}

// busy reports whether a round runs.
func (r *rounds) busy() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.under != nil
}

// asker finds out how far clients have read. Its methods may be called
// concurrently.
type asker struct {
	unread  *unread
	pingers *pingers
	bus     dbus.BusObject
	// ended is done when the service has ended.
	ended context.Context
	// trip is a round trip of the owner of the name to the bus, which has taken all
	// its messages by then.
	trip *rounds
	// counts reports whether the bus tells how much it holds for a client.
	counts bool

	mu sync.Mutex
	// pinged are those that are being pinged, watched those whose queue in the bus
	// is watched.
	pinged  map[pingKey]*rounds
	watched map[string]struct{}
}

// pingKey is a client and the user on whose connections it is pinged.
type pingKey struct {
	client string
	user   uint32
}

func newAsker(ctx context.Context, u *unread, p *pingers, bus dbus.BusObject, self string) *asker {
	a := &asker{
		unread: u, pingers: p, bus: bus, ended: ctx,
		trip: &rounds{run: func() error {
			return bus.CallWithContext(ctx, busName+".GetId", 0).Err
		}},
		pinged: map[pingKey]*rounds{}, watched: map[string]struct{}{},
	}
	_, a.counts = a.queued(self)
	return a
}

// ping begins to ask a client of a user how far it has read. First the owner of
// the name makes a round trip to the bus, then the client is sent a ping: when it
// answers, it has read what was sent before the call. D-Bus libraries answer by
// themselves when they wait for signals. The answer is there, too, when the client
// has left.
func (a *asker) ping(client string, user uint32) *question {
	a.mu.Lock()
	defer a.mu.Unlock()
	key := pingKey{client, user}
	r := a.pinged[key]
	if r == nil {
		r = &rounds{run: func() error { return a.round(client, user) }}
		r.idle = func() { a.forget(key, r) }
		a.pinged[key] = r
	}
	return r.join()
}

// forget forgets a client that nobody asks any more.
func (a *asker) forget(key pingKey, r *rounds) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.pinged[key] == r && !r.busy() {
		delete(a.pinged, key)
	}
}

// round pings a client.
func (a *asker) round(client string, user uint32) error {
	sent := a.unread.sentTo(client)
	if err := a.trip.join().wait(a.ended); err != nil {
		return err
	}
	if err := a.pingers.ping(client, user); err != nil {
		return err
	}
	a.unread.read(client, sent)
	return nil
}

const (
	// emptyQueue is up to how many bytes the bus holds for a client that reads.
	emptyQueue = 16 << 10
	// firstLook and lastLook are how long there is between two looks at a queue.
	firstLook = 5 * time.Millisecond
	lastLook  = time.Second
)

// watch begins to find out whether a client has read its replies. Clients that
// call and wait for the reply answer no ping meanwhile. dbus-daemon, which stops
// reading from us when it holds too much, tells how much it holds. dbus-broker
// does neither, and bounds what it holds for each user: there a client has read
// when it answers a ping, or, as heard says, when it calls again.
func (a *asker) watch(client string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.watched[client]; ok {
		return
	}
	a.watched[client] = struct{}{}
	if a.counts {
		go a.look(client)
		return
	}
	go func() {
		_ = a.ping(client, nobody).wait(a.ended)
		a.unwatch(client)
	}()
}

// unwatch ends what watch began.
func (a *asker) unwatch(client string) {
	a.mu.Lock()
	delete(a.watched, client)
	a.mu.Unlock()
	// Who wanted it watched in the meantime relied on this.
	if a.ended.Err() == nil && a.unread.owes(client) {
		a.watch(client)
	}
}

// heard notes that a client has called while no other call of it was open.
func (a *asker) heard(client string) {
	if !a.counts {
		a.readReplies(client, a.unread.sentTo(client))
	}
}

func (a *asker) readReplies(client string, sent [kinds]int) {
	a.unread.read(client, [kinds]int{replies: sent[replies]})
}

// look looks at the queue of a client until it is empty.
func (a *asker) look(client string) {
	pause := firstLook
	for a.ended.Err() == nil {
		sent := a.unread.sentTo(client)
		if n, _ := a.queued(client); n <= emptyQueue {
			a.readReplies(client, sent)
			a.unwatch(client)
			return
		}
		select {
		case <-a.ended.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, lastLook)
	}
}

// queued returns how many bytes the bus holds for a client, 0 if that has left.
// ok reports whether the bus has told.
func (a *asker) queued(client string) (n uint32, ok bool) {
	var stats dictionary
	call := a.bus.CallWithContext(a.ended, "org.freedesktop.DBus.Debug.Stats.GetConnectionStats", 0, client)
	if call.Err != nil || call.Store(&stats) != nil {
		return 0, false
	}
	n, ok = stats["OutgoingBytes"].Value().(uint32)
	return n, ok
}

const (
	// openPings is how many pings of a connection wait for an answer: fewer than a
	// bus allows (128, dbus-daemon(1)).
	openPings = 100
	// userPingers is how many connections there are for pinging the clients of one
	// user. A bus lets a user have 256 connections.
	userPingers = 3
	// idlePinger is how long a connection is kept that nothing is asked on.
	idlePinger = 10 * time.Second
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
	_, conn, err := connect(p.address, nil, dbus.WithHandler(nothing{}), dbus.WithSignalHandler(nothing{}))
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
