// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"context"
	"sync"
)

// Kind is a kind of messages to clients.
type Kind int

// The kinds.
const (
	Windows Kind = iota // signals of subscriptions
	Replies             // answers to calls
	kinds
)

const (
	// allReplies is how many bytes of replies the bus may hold that clients have
	// not read, userReplies those of the clients of one user, and clientReplies
	// those of one client. With those of windows they stay below what a bus takes
	// from one connection.
	allReplies    = 24 << 20
	userReplies   = 8 << 20
	clientReplies = 256 << 10
	// AnyReply is what a client may always be sent that has read everything. It is
	// enough for nearly all replies.
	AnyReply = 32 << 10
	// watchAbove is how much a client is sent before it is looked whether it reads.
	watchAbove = 16 << 10
	// dropAbove is when a client is not even told that there is no room.
	dropAbove = 2 * clientReplies
)

// Backlog accounts for the bytes that the bus holds for clients that do not read:
// a bus that holds too many stops reading from us, and then nobody receives
// anything. What is sent to a client counts until it has read it, as a Watcher
// finds out, or leaves. Its methods may be called concurrently.
type Backlog struct {
	limits Limits
	// watch has a client watched until it has read.
	watch func(client string)

	mu      sync.Mutex
	clients map[string]*account
	users   map[uint32]*userAccount
	all     [kinds]int
}

// account is that of a client. Backlog.mu guards it.
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

// userAccount is that of a user. Backlog.mu guards it.
type userAccount struct {
	id      uint32
	bytes   [kinds]int
	clients int
	// freed is closed when there may be room; nil if nobody waits.
	freed chan struct{}
}

// Limits bound the windows that the bus may hold, in bytes.
type Limits struct {
	// Window is the size of one.
	Window int
	// UserWindows is for those of one user, Windows for all.
	UserWindows, Windows int
}

// NewBacklog returns an empty one. A Watcher has to be made for it before it is
// used.
func NewBacklog(l Limits) *Backlog {
	return &Backlog{limits: l, clients: map[string]*account{}, users: map[uint32]*userAccount{}}
}

// account returns the account of a client. The caller holds mu.
func (b *Backlog) account(client string, user uint32) *account {
	a := b.clients[client]
	if a == nil {
		of := b.users[user]
		if of == nil {
			of = &userAccount{id: user}
			b.users[user] = of
		}
		of.clients++
		a = &account{user: of}
		b.clients[client] = a
	}
	return a
}

// room returns how many bytes a client can be sent, at least least and at most
// want; 0 if there is no room. The caller holds mu.
func (b *Backlog) room(k Kind, a *account, least, want int) int {
	mine := a.reserved[k] + a.unread(k)
	var room int
	if k == Windows {
		room = min(b.limits.UserWindows-a.user.bytes[k], b.limits.Windows-b.all[k])
		if least > b.limits.Window {
			// A group that is longer than a window has to wait for others of its kind
			// only.
			room += min(b.limits.UserWindows, b.limits.Windows)
		}
	} else {
		room = min(userReplies-a.user.bytes[k], allReplies-b.all[k])
		if mine > 0 {
			room = min(room, clientReplies-mine)
		} else {
			room = max(room, AnyReply)
		}
	}
	if room < least {
		return 0
	}
	return min(room, want)
}

// Reserve waits until there is room for at least least bytes of a message to a
// client, and returns how many up to want are reserved. sent or cancel give them
// back. The error is that of ctx.
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
			watched = b.owing(a.user)
		}
		b.mu.Unlock()
		for _, client := range watched {
			b.watch(client)
		}
		select {
		case <-freed:
		case <-ctx.Done():
			b.mu.Lock()
			b.tidy(client, a)
			b.mu.Unlock()
			return 0, ctx.Err()
		}
	}
}

// owing returns the clients of a user, of all for nil, that have replies to read.
// The caller holds mu.
func (b *Backlog) owing(user *userAccount) (clients []string) {
	for client, a := range b.clients {
		if (user == nil || a.user == user) && a.unread(Replies) > 0 {
			clients = append(clients, client)
		}
	}
	return clients
}

// unread is how many bytes have not been read.
func (a *account) unread(k Kind) int { return a.sent[k] - a.seen[k] }

// add changes the sums. The caller holds mu.
func (b *Backlog) add(k Kind, a *account, n int) {
	a.user.bytes[k] += n
	b.all[k] += n
	if n >= 0 {
		return
	}
	a.user.free()
	if b.all[k] > b.limit(k)/2 {
		// Others may have waited for the room that all share.
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

// free wakes those who wait for room.
func (u *userAccount) free() {
	if u.freed != nil {
		close(u.freed)
		u.freed = nil
	}
}

// Sent notes that a message of size bytes is being sent to a client, for which
// some had been reserved.
func (b *Backlog) Sent(k Kind, client string, user uint32, reserved, size int) {
	b.mu.Lock()
	a := b.account(client, user)
	a.reserved[k] -= reserved
	if a.gone {
		size = 0
	}
	a.sent[k] += size
	b.add(k, a, size-reserved)
	b.tidy(client, a)
	watch := k == Replies && a.unread(k) > watchAbove
	b.mu.Unlock()
	if watch {
		b.watch(client)
	}
}

// Cancel gives back what was reserved.
func (b *Backlog) Cancel(k Kind, client string, user uint32, reserved int) {
	b.Sent(k, client, user, reserved, 0)
}

// tidy forgets a client that nothing is known of. The caller holds mu.
func (b *Backlog) tidy(client string, a *account) {
	if a.sent != a.seen || a.reserved != [kinds]int{} || b.clients[client] != a {
		return
	}
	delete(b.clients, client)
	if a.user.clients--; a.user.clients == 0 && b.users[a.user.id] == a.user {
		a.user.free()
		delete(b.users, a.user.id)
	}
}

// sentTo returns how much has been sent to a client, for read.
func (b *Backlog) sentTo(client string) [kinds]int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if a := b.clients[client]; a != nil {
		return a.sent
	}
	return [kinds]int{}
}

// read notes that a client has read as much as had been sent to it at the time
// of sentTo.
func (b *Backlog) read(client string, sent [kinds]int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if a := b.clients[client]; a != nil {
		b.see(client, a, sent)
	}
}

// see is read for those who hold mu.
func (b *Backlog) see(client string, a *account, sent [kinds]int) {
	for k, n := range sent {
		if n = min(n, a.sent[k]) - a.seen[k]; n > 0 {
			a.seen[k] += n
			b.add(Kind(k), a, -n)
		}
	}
	b.tidy(client, a)
}

// Gone notes that a client has left the bus, which has forgotten what it held.
func (b *Backlog) Gone(client string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if a := b.clients[client]; a != nil {
		a.gone = true
		b.see(client, a, a.sent)
	}
}

// owes reports whether a client has replies to read.
func (b *Backlog) owes(client string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	a := b.clients[client]
	return a != nil && a.unread(Replies) > 0
}

// Overdue reports whether a client has so much to read that it is sent nothing
// more.
func (b *Backlog) Overdue(client string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	a := b.clients[client]
	return a != nil && a.unread(Replies) > dropAbove
}

// sweep has all clients watched that have replies to read. Those that left before
// the reply was sent are found in this way.
func (b *Backlog) sweep() {
	b.mu.Lock()
	all := b.owing(nil)
	b.mu.Unlock()
	for _, client := range all {
		b.watch(client)
	}
}
