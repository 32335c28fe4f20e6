// SPDX-License-Identifier: Apache-2.0

package access

import (
	"context"
	"errors"
	"fmt"
	"os/user"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"

	"crypto-auditing/src/internal/busservice/transport"
	"crypto-auditing/src/internal/quota"
)

// groupName is the group whose members may read and subscribe like root.
const groupName = "crypto-auditing"

// Actions of polkit.
const (
	Read      = "org.crypto-auditing.broker.read"
	Subscribe = "org.crypto-auditing.broker.subscribe"
	Truncate  = "org.crypto-auditing.broker.truncate"
)

const (
	// queryTimeout bounds questions to the bus and to polkit, passwordTime those where
	// polkit may prompt the user.
	queryTimeout = 20 * time.Second
	passwordTime = 3 * time.Minute
)

// Caller is the peer of a connection.
type Caller struct {
	User   uint32
	Groups []uint32
}

// Callers maps connections to their owners. The bus never reuses a unique name.
type Callers struct {
	bus dbus.BusObject

	mu    sync.Mutex
	known map[string]*lookup
}

// lookup is a pending or finished question about a caller.
type lookup struct {
	done   chan struct{}
	caller Caller
	err    error
}

// NewCallers returns callers that are looked up at the given object of the bus.
func NewCallers(bus dbus.BusObject) *Callers {
	return &Callers{bus: bus, known: map[string]*lookup{}}
}

// Forget removes a connection that has disconnected.
func (c *Callers) Forget(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.known, name)
}

// maxKnown bounds the cache in case the bus does not report disconnections.
const maxKnown = 4096

// Get returns the owner of a unique name. Concurrent calls share one question to the bus.
func (c *Callers) Get(ctx context.Context, name string) (Caller, error) {
	c.mu.Lock()
	l := c.known[name]
	if l == nil {
		if len(c.known) >= maxKnown {
			clear(c.known)
		}
		l = &lookup{done: make(chan struct{})}
		c.known[name] = l
		go func() {
			if l.caller, l.err = c.query(name); l.err != nil {
				c.Forget(name)
			}
			close(l.done)
		}()
	}
	c.mu.Unlock()
	select {
	case <-l.done:
		return l.caller, l.err
	case <-ctx.Done():
		return Caller{}, ctx.Err()
	}
}

// query asks the bus for the owner of a unique name.
func (c *Callers) query(name string) (caller Caller, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), queryTimeout)
	defer cancel()
	var credentials map[string]dbus.Variant
	err = c.bus.CallWithContext(ctx, "org.freedesktop.DBus.GetConnectionCredentials", 0, name).Store(&credentials)
	if err != nil {
		return Caller{}, fmt.Errorf("cannot identify the caller: %w", err)
	}
	var ok bool
	if caller.User, ok = credentials["UnixUserID"].Value().(uint32); !ok {
		return Caller{}, errors.New("cannot identify the caller: the bus does not know the user")
	}
	if caller.Groups, ok = credentials["UnixGroupIDs"].Value().([]uint32); !ok {
		// The bus does not report groups: look up the user's.
		caller.Groups = groupsOf(caller.User)
	}
	return caller, nil
}

// UserName returns the name of a user, empty if it is unknown.
func UserName(uid uint32) string {
	u, err := user.LookupId(strconv.FormatUint(uint64(uid), 10))
	if err != nil {
		return ""
	}
	return u.Username
}

// groupsOf returns the groups of a user according to the user database.
func groupsOf(uid uint32) []uint32 {
	u, err := user.LookupId(strconv.FormatUint(uint64(uid), 10))
	if err != nil {
		return nil
	}
	ids, err := u.GroupIds()
	if err != nil {
		return nil
	}
	var groups []uint32
	for _, id := range ids {
		if n, err := strconv.ParseUint(id, 10, 32); err == nil {
			groups = append(groups, uint32(n))
		}
	}
	return groups
}

// maxQuestions is the highest number of pending polkit questions per user. A question
// lasts as long as the user's password dialog is open, and a bus bounds the pending
// calls of a connection (128, dbus-daemon(1)): without this limit one user could
// block all questions.
const maxQuestions = 16

// Access decides which callers may perform which actions.
type Access struct {
	conn *dbus.Conn
	// group is the id of the group that may read, nil for none.
	group *uint32
	// self is the user of the broker and of the timer's service.
	self uint32
	// questions counts the pending questions about each user.
	questions *quota.Quota
}

// New returns the access rules of a service. polkit is asked over conn. group is
// the id of the group that may read and subscribe, nil for none; self is the user
// of the service.
func New(conn *dbus.Conn, group *uint32, self uint32) *Access {
	return &Access{conn: conn, group: group, self: self, questions: quota.New("questions to polkit", quota.Limits{User: maxQuestions})}
}

// denied returns the error for a caller without permission, with the remedy.
func denied(action, detail string) error {
	remedy := "join group " + groupName + " or use sudo"
	if action == Truncate {
		remedy = "use sudo"
	}
	return &transport.Error{Name: transport.AccessDenied, Text: fmt.Sprintf("not authorised (%s%s): %s", action, detail, remedy)}
}

// allowed reports whether a caller may perform an action without polkit.
// Membership in the group never allows truncation: readers of the log must not be
// able to shorten it.
func (a *Access) allowed(caller Caller, action string) bool {
	switch {
	case caller.User == 0:
		return true
	case action == Truncate:
		return caller.User == a.self
	}
	return a.group != nil && slices.Contains(caller.Groups, *a.group)
}

// Holder returns a caller in the form used by quotas.
func (a *Access) Holder(caller Caller) quota.Holder {
	h := quota.Holder{User: caller.User}
	switch {
	case caller.User == 0 || caller.User == a.self:
		h.Rank = quota.Trusted
	case a.allowed(caller, Read):
		h.Rank = quota.Member
	}
	return h
}

// Check returns nil if a caller may perform an action of polkit. interactive
// allows polkit to prompt the user for a password.
func (a *Access) Check(ctx context.Context, caller Caller, sender, action string, interactive bool) error {
	if a.allowed(caller, action) {
		return nil
	}
	h := a.Holder(caller)
	if a.questions.Take(h) != nil {
		return &transport.Error{Name: transport.LimitsExceeded, Text: fmt.Sprintf("polkit is being asked %d times about the user: answer, or wait", maxQuestions)}
	}
	defer a.questions.Release(h)
	type subject struct {
		Kind    string
		Details map[string]dbus.Variant
	}
	type result struct {
		Authorized, Challenge bool
		Details               map[string]string
	}
	const allowInteraction = 1
	flags, limit := uint32(0), queryTimeout
	if interactive {
		flags, limit = allowInteraction, passwordTime
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var answer result
	err := a.conn.Object("org.freedesktop.PolicyKit1", "/org/freedesktop/PolicyKit1/Authority").CallWithContext(ctx,
		"org.freedesktop.PolicyKit1.Authority.CheckAuthorization", 0,
		subject{"system-bus-name", map[string]dbus.Variant{"name": dbus.MakeVariant(sender)}}, action, map[string]string{}, flags, "",
	).Store(&answer)
	switch {
	case err != nil:
		// Without polkit no other user may.
		return denied(action, "; polkit does not answer")
	case answer.Authorized:
		return nil
	case answer.Challenge:
		return denied(action, "; polkit wants a password")
	}
	return denied(action, "")
}
