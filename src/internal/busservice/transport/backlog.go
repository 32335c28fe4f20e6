// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"context"
	"sync"
)

// Kind is the kind of a message to a client.
type Kind int

// The kinds.
const (
	Windows Kind = iota // signals of subscriptions
	Replies             // answers to calls
	kinds
)

const (
	// allReplies bounds the unread replies that the bus holds, in bytes,
	// userReplies those to the clients of one user, and clientReplies those to
	// one client. Together with the windows they stay below what a bus accepts
	// from one connection.
	allReplies    = 24 << 20
	userReplies   = 8 << 20
	clientReplies = 256 << 10
	// AnyReply is the number of bytes that a client which has read everything may
	// always be sent. Nearly all replies are smaller.
	AnyReply = 32 << 10
	// watchAbove is the number of bytes sent after which a client is watched.
	watchAbove = 16 << 10
	// dropAbove is the number of bytes beyond which not even errors are sent.
	dropAbove = 2 * clientReplies
)

// Backlog counts the bytes that the bus holds for clients that do not read: a bus
// that holds too many stops reading from this connection, and then no client
// receives anything. A message counts until its client has read it, as determined
// by a Watcher, or has disconnected. Methods may be called concurrently.
type Backlog struct {
	limits Limits
	// watch starts watching a client until it has read its messages.
	watch func(client string)

	mu      sync.Mutex
	clients map[string]*account
	users   map[uint32]*userAccount
	all     [kinds]int
}

// account is the account of a client, guarded by Backlog.mu.
type account struct {
	user *userAccount
	// reserved is the number of bytes reserved for messages, by kind.
	reserved [kinds]int
	// sent is the number of bytes sent since the account exists, read the number
	// of them known to have been read.
	sent, read [kinds]int
	// disconnected is set once the client has disconnected.
	disconnected bool
}

// userAccount is the account of a user, guarded by Backlog.mu.
type userAccount struct {
	id      uint32
	bytes   [kinds]int
	clients int
	// freed is closed when there may be room; nil without waiters.
	freed chan struct{}
}

// Limits bound the windows that the bus may hold, in bytes.
type Limits struct {
	// Window is the size of one window.
	Window int
	// UserWindows bounds those of one user, Windows all.
	UserWindows, Windows int
}

// NewBacklog returns an empty backlog. It needs a Watcher before it is used.
func NewBacklog(l Limits) *Backlog {
	return &Backlog{limits: l, clients: map[string]*account{}, users: map[uint32]*userAccount{}}
}

// account returns the account of a client. The caller holds mu.
func (b *Backlog) account(client string, user uint32) *account {
	a := b.clients[client]
	if a == nil {
		owner := b.users[user]
		if owner == nil {
			owner = &userAccount{id: user}
			b.users[user] = owner
		}
		owner.clients++
		a = &account{user: owner}
		b.clients[client] = a
	}
	return a
}

// room returns how many bytes a client can be sent, between least and want; 0 if
// there is no room. The caller holds mu.
func (b *Backlog) room(k Kind, a *account, least, want int) int {
	used := a.reserved[k] + a.unread(k)
	var room int
	if k == Windows {
		room = min(b.limits.UserWindows-a.user.bytes[k], b.limits.Windows-b.all[k])
		if least > b.limits.Window {
			// A group that is longer than a window waits only for others of its kind.
			room += min(b.limits.UserWindows, b.limits.Windows)
		}
	} else {
		room = min(userReplies-a.user.bytes[k], allReplies-b.all[k])
		if used > 0 {
			room = min(room, clientReplies-used)
		} else {
			room = max(room, AnyReply)
		}
	}
	if room < least {
		return 0
	}
	return min(room, want)
}

// Reserve waits until there is room for a message of at least least bytes to a
// client, and returns how many bytes, up to want, are reserved. Sent or Cancel
// releases them. The error is the error of ctx.
func (b *Backlog) Reserve(ctx context.Context, k Kind, client string, user uint32, least, want int) (int, error) {
	for {
		b.mu.Lock()
		a := b.account(client, user)
		n := b.room(k, a, least, want)
		if n > 0 {
			a.reserved[k] += n
			b.add(k, a, n)
			b.mu.Unlock()
			return n, nil
		}
		if a.user.freed == nil {
			a.user.freed = make(chan struct{})
		}
		freed := a.user.freed
		var watched []string
		if k == Replies {
			watched = b.unreadClients(a.user)
		}
		b.mu.Unlock()
		for _, client := range watched {
			b.watch(client)
		}
		select {
		case <-freed:
		case <-ctx.Done():
			b.mu.Lock()
			b.removeIfEmpty(client, a)
			b.mu.Unlock()
			return 0, ctx.Err()
		}
	}
}

// unreadClients returns the clients with unread replies: those of a user, or all if user
// is nil. The caller holds mu.
func (b *Backlog) unreadClients(user *userAccount) (clients []string) {
	for client, a := range b.clients {
		if (user == nil || a.user == user) && a.unread(Replies) > 0 {
			clients = append(clients, client)
		}
	}
	return clients
}

// unread returns the number of bytes sent but not read.
func (a *account) unread(k Kind) int { return a.sent[k] - a.read[k] }

// add updates the totals. The caller holds mu.
func (b *Backlog) add(k Kind, a *account, n int) {
	a.user.bytes[k] += n
	b.all[k] += n
	if n >= 0 {
		return
	}
	a.user.free()
	if b.all[k] > b.limit(k)/2 {
		// Other users may be waiting for shared room.
		for _, user := range b.users {
			user.free()
		}
	}
}

func (b *Backlog) limit(k Kind) int {
	if k == Windows {
		return b.limits.Windows
	}
	return allReplies
}

// free wakes the waiters of a user.
func (u *userAccount) free() {
	if u.freed != nil {
		close(u.freed)
		u.freed = nil
	}
}

// Sent records that a message of size bytes is being sent to a client, with a
// reservation of reserved bytes.
func (b *Backlog) Sent(k Kind, client string, user uint32, reserved, size int) {
	b.mu.Lock()
	a := b.account(client, user)
	a.reserved[k] -= reserved
	if a.disconnected {
		size = 0
	}
	a.sent[k] += size
	b.add(k, a, size-reserved)
	b.removeIfEmpty(client, a)
	watch := k == Replies && a.unread(k) > watchAbove
	b.mu.Unlock()
	if watch {
		b.watch(client)
	}
}

// Cancel releases a reservation.
func (b *Backlog) Cancel(k Kind, client string, user uint32, reserved int) {
	b.Sent(k, client, user, reserved, 0)
}

// removeIfEmpty deletes the account of a client without bytes. The caller holds mu.
func (b *Backlog) removeIfEmpty(client string, a *account) {
	if a.sent != a.read || a.reserved != [kinds]int{} || b.clients[client] != a {
		return
	}
	delete(b.clients, client)
	if a.user.clients--; a.user.clients == 0 && b.users[a.user.id] == a.user {
		a.user.free()
		delete(b.users, a.user.id)
	}
}

// sentTo returns the number of bytes sent to a client, to be passed to read.
func (b *Backlog) sentTo(client string) [kinds]int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if a := b.clients[client]; a != nil {
		return a.sent
	}
	return [kinds]int{}
}

// read records that a client has read everything up to a value that sentTo
// returned.
func (b *Backlog) read(client string, sent [kinds]int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if a := b.clients[client]; a != nil {
		b.readLocked(client, a, sent)
	}
}

// readLocked is read for callers that hold mu.
func (b *Backlog) readLocked(client string, a *account, sent [kinds]int) {
	for k, n := range sent {
		if n = min(n, a.sent[k]) - a.read[k]; n > 0 {
			a.read[k] += n
			b.add(Kind(k), a, -n)
		}
	}
	b.removeIfEmpty(client, a)
}

// Disconnected records that a client has disconnected: the bus has dropped its messages.
func (b *Backlog) Disconnected(client string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if a := b.clients[client]; a != nil {
		a.disconnected = true
		b.readLocked(client, a, a.sent)
	}
}

// hasUnread reports whether a client has unread replies.
func (b *Backlog) hasUnread(client string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	a := b.clients[client]
	return a != nil && a.unread(Replies) > 0
}

// Overdue reports whether a client has so many unread bytes that it is sent
// nothing more.
func (b *Backlog) Overdue(client string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	a := b.clients[client]
	return a != nil && a.unread(Replies) > dropAbove
}

// sweep watches all clients with unread replies. This also finds clients that
// disconnected before their reply was sent.
func (b *Backlog) sweep() {
	b.mu.Lock()
	all := b.unreadClients(nil)
	b.mu.Unlock()
	for _, client := range all {
		b.watch(client)
	}
}
