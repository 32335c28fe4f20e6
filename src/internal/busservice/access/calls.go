// SPDX-License-Identifier: Apache-2.0

package access

import (
	"context"
	"sync"

	"crypto-auditing/src/internal/busservice/transport"
	"crypto-auditing/src/internal/quota"
)

// maxCalls is the highest number of concurrent calls of one connection, userCalls
// of one user, outsiderCalls of all users except root and the group's members, and
// allCalls of all users except root.
const (
	maxCalls      = 64
	userCalls     = 256
	outsiderCalls = 512
	allCalls      = 1024
)

// Calls counts the calls in progress.
type Calls struct {
	mu      sync.Mutex
	senders map[string]int
	all     int
	// open counts the unanswered calls of each connection.
	open map[string]int
	// admitted counts the admitted calls.
	admitted *quota.Quota
	// empty is closed when no call is left; nil without waiters.
	empty chan struct{}
	// total counts all calls since the start.
	total uint64
	// closed is set once no more calls are served.
	closed bool
}

// NewCalls returns an empty count.
func NewCalls() *Calls {
	return &Calls{senders: map[string]int{}, open: map[string]int{}, admitted: quota.New("calls", quota.Limits{
		User: userCalls, Outsiders: outsiderCalls, Others: allCalls,
	})}
}

// Received records that a call of a connection has arrived. It is called in the
// order of the bus.
func (c *Calls) Received(sender string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all++
	c.senders[sender]++
	c.open[sender]++
	c.total++
}

// Replying records that a reply to a connection is about to be sent.
func (c *Calls) Replying(sender string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open[sender]--; c.open[sender] == 0 {
		delete(c.open, sender)
	}
}

// OnlyPending reports whether a connection has exactly one pending call: it has received
// the replies to all others.
func (c *Calls) OnlyPending(sender string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open[sender] == 1
}

// Admit returns nil if a call of a connection may be served.
func (c *Calls) Admit(sender string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return ErrStopping()
	case c.senders[sender] > maxCalls:
		return &transport.Error{Name: transport.LimitsExceeded, Text: "too many calls at the same time"}
	}
	return nil
}

// Enter returns nil if a call of a connection may be served; Exit ends it. The
// only pending call of a connection does not count towards its user's limit.
func (c *Calls) Enter(sender string, h quota.Holder) error {
	take := c.admitted.Take
	if c.OnlyPending(sender) {
		take = c.admitted.TakeAny
	}
	if take(h) != nil {
		return &transport.Error{Name: transport.LimitsExceeded, Text: "too many calls at the same time"}
	}
	return nil
}

// Exit ends a call that Enter has admitted.
func (c *Calls) Exit(h quota.Holder) { c.admitted.Release(h) }

// ErrStopping is returned to callers during a shutdown; calling again starts the
// next broker.
func ErrStopping() error {
	return &transport.Error{Name: transport.ServiceUnknown, Text: "the broker is stopping: call again"}
}

// Answered records the end of a call.
func (c *Calls) Answered(sender string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all--
	if c.senders[sender]--; c.senders[sender] == 0 {
		delete(c.senders, sender)
	}
	if c.all == 0 && c.empty != nil {
		close(c.empty)
		c.empty = nil
	}
}

// Drain waits until no call is in progress, and refuses further calls.
func (c *Calls) Drain(ctx context.Context) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.all > 0 && ctx.Err() == nil {
		if c.empty == nil {
			c.empty = make(chan struct{})
		}
		empty := c.empty
		c.mu.Unlock()
		select {
		case <-empty:
		case <-ctx.Done():
		}
		c.mu.Lock()
	}
	c.closed = true
}

// Count returns the number of calls since the start and of calls in progress.
func (c *Calls) Count() (total uint64, now int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.total, c.all
}
