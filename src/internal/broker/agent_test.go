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

// comingAndGoing is an agent that follows as long as a test lets it.
type comingAndGoing struct {
	brokertest.Agent
	// follows gets the end of the next call of Follow, and its callback.
	follows chan following
}

type following struct {
	committed func(logstore.Cursor)
	end       chan struct{}
}

func (a *comingAndGoing) Follow(ctx context.Context, begun func(), committed func(logstore.Cursor)) error {
	begun()
	f := following{committed: committed, end: make(chan struct{})}
	select {
	case a.follows <- f:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-f.end:
		return fmt.Errorf("%w: it has left", fault.ErrAgentUnavailable)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Whether the agent reports chunks, or is away and the log is watched: what is
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
	_, c := subscribe(t, b, "", filter.Spec{}, delivery.SubscribeOptions{})
	r := rand.New(rand.NewPCG(1, 3))
	f := <-agent.follows
	for round := range 3 {
		// It has not reported anything yet, so that the broker does not rely on it.
		c.awaitLast(t, l.Append(brokertest.Some(r, 3)...).Sequence)
		for range 5 {
			end := l.Append(brokertest.Some(r, 3)...)
			l.Flush()
			f.committed(end)
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
		// Without reports, the log is watched.
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
			t.Errorf("notified twice that the agent runs: %v", seen)
		}
	}
}

// An agent of the service manager is never connected to before the manager reports
// that it runs: connecting would start it.
func TestAStoppedAgentIsNotConnectedTo(t *testing.T) {
	l := brokertest.New(t)
	l.Flush()
	agent := &comingAndGoing{Agent: brokertest.Agent{Log: l}, follows: make(chan following)}
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
	l.Rotate() // there is something to truncate
	for _, stopped := range []broker.AgentState{broker.AgentStopped, broker.AgentFailed, broker.AgentUnknown} {
		state.Store(stopped)
		// Appended groups arrive, and can be read again.
		c.awaitLast(t, l.Append(brokertest.Some(r, 3)...).Sequence)
		s := b.Status(t.Context())
		if s.AgentState != string(stopped) || s.AgentActive || s.Agent != nil || b.AgentActive() {
			t.Errorf("an agent that is %s is reported as %s, active %v", stopped, s.AgentState, s.AgentActive)
		}
		if (stopped == broker.AgentStopped) != (s.AgentError == "") {
			t.Errorf("the error of an agent that is %s is %v", stopped, s.AgentError)
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
		t.Error("the agent runs, and is not active")
	}
}
