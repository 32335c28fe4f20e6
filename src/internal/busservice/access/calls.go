// SPDX-License-Identifier: Apache-2.0

package access

import (
	"context"
	"sync"

	"crypto-auditing/src/internal/busservice/transport"
	"crypto-auditing/src/internal/quota"
)

// maxCalls is how many calls of one connection are served at the same time,
// userCalls those of one user, strangerCalls those of all who are neither root nor
// in the group, and allCalls those of all but root.
const (
	maxCalls      = 64
	userCalls     = 256
	strangerCalls = 512
	allCalls      = 1024
)

// Calls counts the calls that are being served.
type Calls struct {
	mu      sync.Mutex
	senders map[string]int
	all     int
	// open counts those of each connection that no reply was sent to.
	open map[string]int
	// admitted counts those that were admitted.
	admitted *quota.Quota
	// empty is closed when all is 0; nil if nobody waits for that.
	empty chan struct{}
	// seen counts calls.
	seen uint64
	// closed says that no more are served.
	closed bool
}

// NewCalls returns an empty count.
func NewCalls() *Calls {
	return &Calls{senders: map[string]int{}, open: map[string]int{}, admitted: quota.New("calls", quota.Limits{
		User: userCalls, Strangers: strangerCalls, Others: allCalls,
	})}
}

// Received notes that a call of a connection has come. It is called in the order
// of the bus.
func (c *Calls) Received(sender string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all++
	c.senders[sender]++
	c.open[sender]++
	c.seen++
}

// Replying notes that a reply to a connection is about to be sent.
func (c *Calls) Replying(sender string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open[sender]--; c.open[sender] == 0 {
		delete(c.open, sender)
	}
}

// Alone reports whether a connection has one open call: it has waited for the
// replies to others.
func (c *Calls) Alone(sender string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open[sender] == 1
}

// Admit returns nil if a call of a connection is to be served.
func (c *Calls) Admit(sender string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return ErrLeaving()
	case c.senders[sender] > maxCalls:
		return &transport.Error{Name: transport.LimitsExceeded, Text: "too many calls at the same time"}
	}
	return nil
}

// Enter returns nil if a call of a connection is to be served; Leave ends it. The
// only open call of a connection need not wait for those of its user's other
// ones.
func (c *Calls) Enter(sender string, h quota.Holder) error {
	take := c.admitted.Take
	if c.Alone(sender) {
		take = c.admitted.TakeAny
	}
	if take(h) != nil {
		return &transport.Error{Name: transport.LimitsExceeded, Text: "too many calls at the same time"}
	}
	return nil
}

// Leave ends what Enter began.
func (c *Calls) Leave(h quota.Holder) { c.admitted.Release(h) }

// ErrLeaving tells a caller who has come too late; calling again starts the
// next broker.
func ErrLeaving() error {
	return &transport.Error{Name: transport.ServiceUnknown, Text: "the broker is stopping: call again"}
}

// Answered says that a call is done.
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

// Drain waits until no call is being served, and serves no more.
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

// Count returns how many calls came, and how many are being served.
func (c *Calls) Count() (seen uint64, now int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seen, c.all
}
