// SPDX-License-Identifier: Apache-2.0

package broker_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"crypto-auditing/src/internal/broker"
	"crypto-auditing/src/internal/broker/brokertest"
	"crypto-auditing/src/internal/broker/delivery"
	"crypto-auditing/src/internal/broker/fault"
	"crypto-auditing/src/internal/broker/filter"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/retention"
)

// intermittentAgent is an agent whose calls of Follow end when a test ends them.
type intermittentAgent struct {
	brokertest.Agent
	// follows receives the callback of each call of Follow, and the channel that ends it.
	follows chan following
}

type following struct {
	committed func(logstore.Cursor)
	end       chan struct{}
}

func (a *intermittentAgent) Follow(ctx context.Context, begun func(), committed func(logstore.Cursor)) error {
	begun()
	f := following{committed: committed, end: make(chan struct{})}
	select {
	case a.follows <- f:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-f.end:
		return fmt.Errorf("%w: it has exited", fault.ErrAgentUnavailable)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Appended groups are sent at once, whether the agent reports chunks or, without it, the
// log is watched.
func TestTheLogIsWatchedWithoutAnAgent(t *testing.T) {
	l := brokertest.New(t)
	l.Flush()
	agent := &intermittentAgent{Agent: brokertest.Agent{Log: l}, follows: make(chan following)}
	b := run(t, l, func(o *broker.Options) { o.Agent = agent })
	var mu sync.Mutex
	var seen []bool
	b.OnAgent(func(active bool) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, active)
	})
	_, c := subscribe(t, b, "", filter.Spec{}, delivery.SubscribeOptions{})
	r := rand.New(rand.NewPCG(1, 3))
	f := <-agent.follows
	for round := range 3 {
		// The agent has not reported anything yet, so the log is still watched.
		c.awaitLast(t, l.Append(brokertest.Some(r, 3)...).Sequence)
		for range 5 {
			end := l.Append(brokertest.Some(r, 3)...)
			l.Flush()
			f.committed(end)
			c.awaitLast(t, end.Sequence)
		}
		if !b.AgentActive() {
			t.Fatal("the agent runs, but is reported as inactive")
		}
		close(f.end)
		for deadline := time.Now().Add(time.Minute); b.AgentActive(); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("the agent has exited, but is reported as active")
			}
		}
		// Without reports, the log is watched.
		c.awaitLast(t, l.Append(brokertest.Some(r, 3)...).Sequence)
		if round < 2 {
			// The broker calls Follow again when the log grows.
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
			t.Errorf("notified twice of the same state: %v", seen)
		}
	}
}

// The broker does not connect to the agent's unit until the service manager reports that
// it runs: connecting would start it.
func TestAStoppedAgentIsNotConnectedTo(t *testing.T) {
	l := brokertest.New(t)
	l.Flush()
	agent := &intermittentAgent{Agent: brokertest.Agent{Log: l}, follows: make(chan following)}
	var state atomic.Value
	state.Store(broker.AgentStopped)
	b := run(t, l, func(o *broker.Options) {
		o.Agent = agent
		o.AgentUnit = func(context.Context) broker.AgentUnit {
			return broker.AgentUnit{State: state.Load().(broker.AgentState), Reason: "so it is"}
		}
	})
	_, c := subscribe(t, b, "", filter.Spec{}, delivery.SubscribeOptions{})
	r := rand.New(rand.NewPCG(1, 3))
	l.Append(brokertest.Some(r, 3)...)
	l.Rotate() // makes a segment that can be removed
	for _, stopped := range []broker.AgentState{broker.AgentStopped, broker.AgentFailed, broker.AgentUnknown} {
		state.Store(stopped)
		// Appended groups arrive, and can be read again.
		c.awaitLast(t, l.Append(brokertest.Some(r, 3)...).Sequence)
		s := b.Status(t.Context())
		if s.AgentState != string(stopped) || s.AgentActive || s.Agent != nil || b.AgentActive() {
			t.Errorf("an agent that is %s is reported as %s, active %v", stopped, s.AgentState, s.AgentActive)
		}
		if (stopped == broker.AgentStopped) != (s.AgentError == "") {
			t.Errorf("with an agent that is %s, the error is %v", stopped, s.AgentError)
		}
		if _, err := b.Truncate(t.Context(), retention.Policy{MaxSize: retention.Limit{Bytes: 1}, Reading: retention.Ignore}, retention.Remover{}); !errors.Is(err, fault.ErrAgentUnavailable) {
			t.Errorf("truncating with an agent that is %s returns %v", stopped, err)
		}
		select {
		case <-agent.follows:
			t.Fatalf("an agent that is %s is connected to", stopped)
		default:
		}
	}
	state.Store(broker.AgentRunning)
	for {
		l.Append(brokertest.Some(r, 1)...)
		select {
		case <-agent.follows:
		case <-time.After(100 * time.Millisecond):
			continue
		}
		break
	}
	if !b.AgentActive() {
		t.Error("the agent runs, but is reported as inactive")
	}
}
