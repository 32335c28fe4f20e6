// SPDX-License-Identifier: Apache-2.0

package broker_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"crypto-auditing/src/internal/broker"
	"crypto-auditing/src/internal/broker/brokertest"
	"crypto-auditing/src/internal/logstore"
)

// comingAndGoing is an agent that follows as long as a test lets it.
type comingAndGoing struct {
	brokertest.Agent
	// follows gets what ends the next call of Follow, and how it tells.
	follows chan following
}

type following struct {
	tell func(logstore.Cursor)
	end  chan struct{}
}

func (a *comingAndGoing) Follow(ctx context.Context, begun func(), told func(logstore.Cursor)) error {
	begun()
	f := following{tell: told, end: make(chan struct{})}
	select {
	case a.follows <- f:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-f.end:
		return fmt.Errorf("%w: it has left", broker.ErrAgentUnavailable)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Whether the agent tells of chunks or is away and the log is watched: what is
// appended is sent at once, and the broker knows which it is.
func TestTheLogIsWatchedWhileTheAgentIsAway(t *testing.T) {
	l := brokertest.New(t)
	l.Flush()
	agent := &comingAndGoing{Agent: brokertest.Agent{Log: l}, follows: make(chan following)}
	b := run(t, l, func(o *broker.Options) { o.Agent = agent })
	var mu sync.Mutex
	var seen []bool
	b.OnAgent(func(active bool) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, active)
	})
	_, c := subscribe(t, b, "", broker.Filter{}, broker.SubscribeOptions{})
	r := rand.New(rand.NewPCG(1, 3))
	f := <-agent.follows
	for round := range 3 {
		// It has not told anything yet, so that nobody relies on it.
		c.awaitLast(t, l.Append(brokertest.Some(r, 3)...).Sequence)
		for range 5 {
			end := l.Append(brokertest.Some(r, 3)...)
			l.Flush()
			f.tell(end)
			c.awaitLast(t, end.Sequence)
		}
		if !b.AgentActive() {
			t.Fatal("the agent follows, and is not there")
		}
		close(f.end)
		for deadline := time.Now().Add(time.Minute); b.AgentActive(); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("the agent has left, and is there")
			}
		}
		// Nobody tells: the log does.
		c.awaitLast(t, l.Append(brokertest.Some(r, 3)...).Sequence)
		if round < 2 {
			// It is called again when the log grows.
			for f.end = nil; f.end == nil; {
				select {
				case f = <-agent.follows:
				case <-time.After(100 * time.Millisecond):
					l.Append(brokertest.Some(r, 1)...)
				}
			}
		}
	}
	c.increasing(t)
	mu.Lock()
	defer mu.Unlock()
	for i, active := range seen {
		if i > 0 && active == seen[i-1] {
			t.Errorf("told twice that the agent is there: %v", seen)
		}
	}
}
