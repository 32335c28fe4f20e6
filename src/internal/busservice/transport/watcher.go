// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"

	"crypto-auditing/src/internal/rounds"
	"crypto-auditing/src/internal/wakeup"
)

// Watcher determines how far clients have read. Methods may be called
// concurrently.
type Watcher struct {
	backlog *Backlog
	pingers *pingers
	bus     dbus.BusObject
	// ended is done once the service has ended.
	ended context.Context
	// roundTrip is a round trip from the owner of the name to the bus: afterwards the
	// bus has accepted all earlier messages.
	roundTrip *rounds.Rounds
	// counts reports whether the bus can be asked how much it holds for a client.
	counts bool

	mu sync.Mutex
	// pinged are the clients with a pending ping, watched those whose queue in the
	// bus is polled: at once, if they are notified.
	pinged  map[pingKey]*rounds.Rounds
	watched map[string]wakeup.Signal
}

// busName is the name of the bus itself.
const busName = "org.freedesktop.DBus"

// UnknownUser is the user of unknown clients: no user has this number.
const UnknownUser = 1<<32 - 1

// pingKey is a client and the user whose connections ping it.
type pingKey struct {
	client string
	user   uint32
}

// NewWatcher returns a watcher for messages that owner, a connection to the bus at
// address, sends to clients, and registers it with the backlog. It ends when ctx is
// done; Close then closes its connections.
func NewWatcher(ctx context.Context, b *Backlog, owner *dbus.Conn, address string, log *slog.Logger) *Watcher {
	bus := owner.BusObject()
	w := &Watcher{
		backlog: b, pingers: newPingers(ctx, address, log), bus: bus, ended: ctx,
		roundTrip: &rounds.Rounds{Run: func() error {
			return bus.CallWithContext(ctx, busName+".GetId", 0).Err
		}},
		pinged: map[pingKey]*rounds.Rounds{}, watched: map[string]wakeup.Signal{},
	}
	_, w.counts = w.queued(owner.Names()[0])
	b.watch = w.watch
	return w
}

// Close closes its connections.
func (w *Watcher) Close() { w.pingers.close() }

// Sweep looks for clients that disconnected without notice, and closes unused
// connections.
func (w *Watcher) Sweep() {
	w.backlog.sweep()
	w.pingers.sweep()
}

// Ping waits until a client of a user has read everything sent before the call.
// The error is the error of ctx, or reports that the watcher has ended. First the
// owner of the name makes a round trip to the bus, then the client is sent a ping.
// D-Bus libraries answer pings while they wait for signals. A disconnected client
// counts as having answered.
func (w *Watcher) Ping(ctx context.Context, client string, user uint32) error {
	return w.start(client, user).Wait(ctx)
}

// start starts to determine how far a client has read.
func (w *Watcher) start(client string, user uint32) *rounds.Round {
	w.mu.Lock()
	defer w.mu.Unlock()
	key := pingKey{client, user}
	r := w.pinged[key]
	if r == nil {
		r = &rounds.Rounds{Run: func() error { return w.ping(client, user) }}
		r.Idle = func() { w.forget(key, r) }
		w.pinged[key] = r
	}
	return r.Join()
}

// forget removes a client without waiters.
func (w *Watcher) forget(key pingKey, r *rounds.Rounds) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pinged[key] == r && !r.Busy() {
		delete(w.pinged, key)
	}
}

// ping pings a client.
func (w *Watcher) ping(client string, user uint32) error {
	sent := w.backlog.sentTo(client)
	if err := w.roundTrip.Join().Wait(w.ended); err != nil {
		return err
	}
	if err := w.pingers.ping(client, user); err != nil {
		return err
	}
	w.backlog.read(client, sent)
	return nil
}

const (
	// emptyQueue is the number of bytes that the bus may hold for a client that reads.
	emptyQueue = 16 << 10
	// firstPause and maxPause bound the time between two polls of a queue.
	firstPause = 5 * time.Millisecond
	maxPause   = time.Second
)

// watch starts to determine whether a client has read its replies. Clients that
// wait for a reply may not answer pings meanwhile. dbus-daemon, which stops
// reading from a connection when it holds too many of its messages, can be asked
// how much it holds for a client. dbus-broker does neither, and limits each user
// instead: there a client has read its replies when it answers a ping or, as
// recorded by NoteCall, calls again.
func (w *Watcher) watch(client string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, ok := w.watched[client]; ok {
		return
	}
	calls := wakeup.New()
	w.watched[client] = calls
	if w.counts {
		go w.poll(client, calls)
		return
	}
	go func() {
		_ = w.start(client, UnknownUser).Wait(w.ended)
		w.unwatch(client)
	}()
}

// unwatch ends a watch.
func (w *Watcher) unwatch(client string) {
	w.mu.Lock()
	delete(w.watched, client)
	w.mu.Unlock()
	// Requests to watch it in the meantime relied on this one.
	if w.ended.Err() == nil && w.backlog.hasUnread(client) {
		w.watch(client)
	}
}

// NoteCall records that a client has called while it had no other pending call.
func (w *Watcher) NoteCall(client string) {
	if !w.counts {
		w.readReplies(client, w.backlog.sentTo(client))
		return
	}
	// It has probably read its replies, and must not wait for the next poll.
	w.mu.Lock()
	defer w.mu.Unlock()
	if calls, ok := w.watched[client]; ok {
		calls.Notify()
	}
}

func (w *Watcher) readReplies(client string, sent [kinds]int) {
	w.backlog.read(client, [kinds]int{Replies: sent[Replies]})
}

// poll polls the queue of a client until it is empty, at once when it calls.
func (w *Watcher) poll(client string, calls <-chan struct{}) {
	pause := firstPause
	for w.ended.Err() == nil {
		sent := w.backlog.sentTo(client)
		if n, _ := w.queued(client); n <= emptyQueue {
			w.readReplies(client, sent)
			w.unwatch(client)
			return
		}
		select {
		case <-w.ended.Done():
		case <-calls:
		case <-time.After(pause):
		}
		pause = min(2*pause, maxPause)
	}
}

// queued returns how many bytes the bus holds for a client, 0 if it has
// disconnected. ok reports whether the bus has answered.
func (w *Watcher) queued(client string) (n uint32, ok bool) {
	var stats map[string]dbus.Variant
	call := w.bus.CallWithContext(w.ended, "org.freedesktop.DBus.Debug.Stats.GetConnectionStats", 0, client)
	if call.Err != nil || call.Store(&stats) != nil {
		return 0, false
	}
	n, ok = stats["OutgoingBytes"].Value().(uint32)
	return n, ok
}
