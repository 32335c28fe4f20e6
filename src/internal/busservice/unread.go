// SPDX-License-Identifier: Apache-2.0

package busservice

import (
	"context"
	"sync"

	"crypto-auditing/src/internal/broker"
)

// kind is a kind of messages to clients.
type kind int

// The kinds.
const (
	windows kind = iota // signals of subscriptions
	replies             // answers to calls
	kinds
)

const (
	// allReplies is how many bytes of replies the bus may hold that clients have
	// not read, userReplies those of the clients of one user, and clientReplies
	// those of one client. With those of windows they stay below what a bus takes
	// from one connection (broker.BusBytes).
	allReplies    = 24 << 20
	userReplies   = 8 << 20
	clientReplies = 256 << 10
	// anyReply is what a client may always be sent that has read everything. It is
	// enough for nearly all replies.
	anyReply = 32 << 10
	// watchAbove is how much a client is sent before it is looked whether it reads.
	watchAbove = 16 << 10
	// dropAbove is when a client is not even told that there is no room.
	dropAbove = 2 * clientReplies
)

// unread accounts for the bytes that the bus holds for clients that do not read:
// a bus that holds too many stops reading from us, and then nobody receives
// anything. What is sent to a client counts until it has read it, as the asker
// finds out, or leaves. Its methods may be called concurrently.
type unread struct {
	// window is the size of a window; a user has as many as there may be
	// subscriptions of one.
	window, userWindows, allWindows int
	// watch has a client watched until it has read.
	watch func(client string)

	mu      sync.Mutex
	clients map[string]*account
	users   map[uint32]*userAccount
	all     [kinds]int
}

// account is that of a client. unread.mu guards it.
type account struct {
	user *userAccount
	// reserved is for what will be sent.
	reserved [kinds]int
	// sent is how many bytes have been sent since there is the account, seen how
	// many of them have been read, as far as known.
	sent, seen [kinds]int
	// gone says that the client has left.
	gone bool
}

// userAccount is that of a user. unread.mu guards it.
type userAccount struct {
	id      uint32
	bytes   [kinds]int
	clients int
	// freed is closed when there may be room; nil if nobody waits.
	freed chan struct{}
}

func newUnread(l broker.Limits) *unread {
	window := l.Window()
	return &unread{
		window: window, userWindows: l.UserSubscriptions * window, allWindows: l.Subscriptions * window,
		clients: map[string]*account{}, users: map[uint32]*userAccount{},
	}
}

// account returns the account of a client. The caller holds mu.
func (u *unread) account(client string, user uint32) *account {
	a := u.clients[client]
	if a == nil {
		of := u.users[user]
		if of == nil {
			of = &userAccount{id: user}
			u.users[user] = of
		}
		of.clients++
		a = &account{user: of}
		u.clients[client] = a
	}
	return a
}

// room returns how many bytes a client can be sent, at least least and at most
// want; 0 if there is no room. The caller holds mu.
func (u *unread) room(k kind, a *account, least, want int) int {
	mine := a.reserved[k] + a.unread(k)
	var room int
	if k == windows {
		room = min(u.userWindows-a.user.bytes[k], u.allWindows-u.all[k])
		if least > u.window {
			// A group that is longer than a window has to wait for others of its kind
			// only.
			room += min(u.userWindows, u.allWindows)
		}
	} else {
		room = min(userReplies-a.user.bytes[k], allReplies-u.all[k])
		if mine > 0 {
			room = min(room, clientReplies-mine)
		} else {
			room = max(room, anyReply)
		}
	}
	if room < least {
		return 0
	}
	return min(room, want)
}

// reserve waits until there is room for at least least bytes of a message to a
// client, and returns how many up to want are reserved. sent or cancel give them
// back. The error is that of ctx.
func (u *unread) reserve(ctx context.Context, k kind, client string, user uint32, least, want int) (int, error) {
	for {
		u.mu.Lock()
		a := u.account(client, user)
		n := u.room(k, a, least, want)
		if n > 0 {
			a.reserved[k] += n
			u.add(k, a, n)
			u.mu.Unlock()
			return n, nil
		}
		if a.user.freed == nil {
			a.user.freed = make(chan struct{})
		}
		freed := a.user.freed
		var watched []string
		if k == replies {
			watched = u.owing(a.user)
		}
		u.mu.Unlock()
		for _, client := range watched {
			u.watch(client)
		}
		select {
		case <-freed:
		case <-ctx.Done():
			u.mu.Lock()
			u.tidy(client, a)
			u.mu.Unlock()
			return 0, ctx.Err()
		}
	}
}

// owing returns the clients of a user, of all for nil, that have replies to read.
// The caller holds mu.
func (u *unread) owing(user *userAccount) (clients []string) {
	for client, a := range u.clients {
		if (user == nil || a.user == user) && a.unread(replies) > 0 {
			clients = append(clients, client)
		}
	}
	return clients
}

// unread is how many bytes have not been read.
func (a *account) unread(k kind) int { return a.sent[k] - a.seen[k] }

// add changes the sums. The caller holds mu.
func (u *unread) add(k kind, a *account, n int) {
	a.user.bytes[k] += n
	u.all[k] += n
	if n >= 0 {
		return
	}
	a.user.free()
	if u.all[k] > u.limit(k)/2 {
		// Others may have waited for the room that all share.
		for _, user := range u.users {
			user.free()
		}
	}
}

func (u *unread) limit(k kind) int {
	if k == windows {
		return u.allWindows
	}
	return allReplies
}

// free wakes those who wait for room.
func (u *userAccount) free() {
	if u.freed != nil {
		close(u.freed)
		u.freed = nil
	}
}

// sent notes that a message of size bytes is being sent to a client, for which
// some had been reserved.
func (u *unread) sent(k kind, client string, user uint32, reserved, size int) {
	u.mu.Lock()
	a := u.account(client, user)
	a.reserved[k] -= reserved
	if a.gone {
		size = 0
	}
	a.sent[k] += size
	u.add(k, a, size-reserved)
	u.tidy(client, a)
	watch := k == replies && a.unread(k) > watchAbove
	u.mu.Unlock()
	if watch {
		u.watch(client)
	}
}

// cancel gives back what was reserved.
func (u *unread) cancel(k kind, client string, user uint32, reserved int) {
	u.sent(k, client, user, reserved, 0)
}

// tidy forgets a client that nothing is known of. The caller holds mu.
func (u *unread) tidy(client string, a *account) {
	if a.sent != a.seen || a.reserved != [kinds]int{} || u.clients[client] != a {
		return
	}
	delete(u.clients, client)
	if a.user.clients--; a.user.clients == 0 && u.users[a.user.id] == a.user {
		a.user.free()
		delete(u.users, a.user.id)
	}
}

// sentTo returns how much has been sent to a client, for read.
func (u *unread) sentTo(client string) [kinds]int {
	u.mu.Lock()
	defer u.mu.Unlock()
	if a := u.clients[client]; a != nil {
		return a.sent
	}
	return [kinds]int{}
}

// read notes that a client has read as much as had been sent to it at the time
// of sentTo.
func (u *unread) read(client string, sent [kinds]int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if a := u.clients[client]; a != nil {
		u.see(client, a, sent)
	}
}

// see is read for those who hold mu.
func (u *unread) see(client string, a *account, sent [kinds]int) {
	for k, n := range sent {
		if n = min(n, a.sent[k]) - a.seen[k]; n > 0 {
			a.seen[k] += n
			u.add(kind(k), a, -n)
		}
	}
	u.tidy(client, a)
}

// gone notes that a client has left the bus, which has forgotten what it held.
func (u *unread) gone(client string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if a := u.clients[client]; a != nil {
		a.gone = true
		u.see(client, a, a.sent)
	}
}

// owes reports whether a client has replies to read.
func (u *unread) owes(client string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	a := u.clients[client]
	return a != nil && a.unread(replies) > 0
}

// overdue reports whether a client has so much to read that it is sent nothing
// more.
func (u *unread) overdue(client string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	a := u.clients[client]
	return a != nil && a.unread(replies) > dropAbove
}

// sweep has all clients watched that have replies to read. Those that left before
// the reply was sent are found in this way.
func (u *unread) sweep() {
	u.mu.Lock()
	all := u.owing(nil)
	u.mu.Unlock()
	for _, client := range all {
		u.watch(client)
	}
}
