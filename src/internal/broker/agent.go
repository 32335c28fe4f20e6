// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"crypto-auditing/src/internal/broker/fault"
	"crypto-auditing/src/internal/broker/tail"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/retention"
	"crypto-auditing/src/internal/status"
	"crypto-auditing/src/internal/wakeup"
)

// Agent is what the broker needs of the agent. Errors that mean it does not
// answer wrap fault.ErrAgentUnavailable. Its methods may be called from any
// goroutine.
type Agent interface {
	// Status is what the agent says of itself.
	Status(context.Context) (status.Agent, error)
	// Flush makes everything durable that was probed before the call and
	// returns the cursor behind it.
	Flush(context.Context) (logstore.Cursor, error)
	// Remove removes the segments that hold nothing after a cursor, on behalf
	// of a user.
	Remove(ctx context.Context, before logstore.Cursor, by retention.Remover) (bytes int64, segments int, err error)
	// Follow calls following once the agent answers, then told for each chunk
	// committed, with the cursor after it, until ctx is done or the agent tells no
	// more. Chunks committed before the first call of told may be left out.
	Follow(ctx context.Context, following func(), told func(logstore.Cursor)) error
}

// AgentState is the state of the agent's service.
type AgentState string

// The states.
const (
	AgentRunning  AgentState = "running"
	AgentStarting AgentState = "starting"
	AgentStopped  AgentState = "stopped"
	AgentFailed   AgentState = "failed"
	AgentUnknown  AgentState = "unknown"
	// AgentUnmanaged: no service manager runs it; only a connection shows its
	// state.
	AgentUnmanaged AgentState = "unmanaged"
)

// AgentUnit is what the service manager knows of the agent.
type AgentUnit struct {
	State AgentState
	// Since is when it was started, or ended; zero: unknown.
	Since time.Time
	// Reason is why it failed, or why the state is unknown.
	Reason string
}

// mayConnect reports whether connecting does not start the agent.
func (u *AgentUnit) mayConnect() bool {
	return u.State == AgentRunning || u.State == AgentStarting || u.State == AgentUnmanaged
}

// callPause is how long to leave an agent alone that does not follow any more.
// After it, one that has left is called again once the log grows, for then it
// may be there again.
const callPause = time.Second

// agentLink follows the agent while it runs. It never starts it.
type agentLink struct {
	agent Agent
	// unit asks the service manager for the agent's state; nil: the agent is
	// not the service manager's, and connecting starts nothing.
	unit   func(context.Context) AgentUnit
	tail   *tail.Tail
	log    *slog.Logger
	active atomic.Bool
	// known is closed once it was found out whether the agent runs.
	known     chan struct{}
	knownOnce sync.Once
	// changed is told when active has changed.
	changed atomic.Pointer[func(bool)]
	// grown is notified when the log has grown, or the agent was seen to run.
	grown wakeup.Signal
}

func newAgentLink(a Agent, unit func(context.Context) AgentUnit, t *tail.Tail, log *slog.Logger) *agentLink {
	l := &agentLink{agent: a, unit: unit, tail: t, log: log, known: make(chan struct{}), grown: wakeup.New()}
	if a == nil {
		l.set(false)
	}
	return l
}

// set notes whether the agent runs.
func (l *agentLink) set(active bool) {
	changed := l.active.Swap(active) != active
	l.knownOnce.Do(func() { close(l.known) })
	if f := l.changed.Load(); changed && f != nil {
		(*f)(active)
	}
}

// look asks for the agent's state.
func (l *agentLink) look(ctx context.Context) AgentUnit {
	if l.unit == nil {
		return AgentUnit{State: AgentUnmanaged}
	}
	u := l.unit(ctx)
	if ctx.Err() == nil && u.State != AgentUnmanaged {
		l.set(u.State == AgentRunning)
	}
	return u
}

// run follows the agent until ctx is done.
func (l *agentLink) run(ctx context.Context) {
	if l.agent == nil {
		return
	}
	told := ""
	for ctx.Err() == nil {
		reason, follow := "", false
		if u := l.look(ctx); u.mayConnect() {
			err := l.follow(ctx, func() { told = "" })
			reason, follow = err.Error(), !errors.Is(err, fault.ErrAgentUnavailable)
		} else {
			reason = string(u.State)
			if u.Reason != "" {
				reason += ": " + u.Reason
			}
		}
		if ctx.Err() != nil {
			return
		}
		if reason != told {
			told = reason
			l.log.Info("the agent does not report what it records; watching the directory of the log", "reason", reason)
		}
		select {
		case <-ctx.Done():
		case <-time.After(callPause):
		}
		if !follow {
			l.await(ctx)
		}
	}
}

// follow follows the agent until it does not report any more.
func (l *agentLink) follow(ctx context.Context, begun func()) error {
	err := l.agent.Follow(ctx, func() {
		l.set(true)
		begun()
	}, l.tail.Told)
	l.tail.Untold()
	l.set(false)
	return err
}

// await waits until the agent may be there again.
func (l *agentLink) await(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-l.grown:
	}
}

// noteGrowth says that the log has grown.
func (l *agentLink) noteGrowth() { l.grown.Notify() }

// AgentActive reports whether the agent runs. Of a broker that has just begun
// to run it waits until that is known.
func (b *Broker) AgentActive() bool {
	select {
	case <-b.agent.known:
	case <-time.After(agentTime):
	}
	return b.agent.active.Load()
}

// askAgent returns the agent for a call that must not start it. The error wraps
// fault.ErrAgentUnavailable.
func (b *Broker) askAgent(ctx context.Context) (Agent, AgentUnit, error) {
	if b.options.Agent == nil {
		return nil, AgentUnit{State: AgentUnknown}, fault.ErrAgentUnavailable
	}
	u := b.agent.look(ctx)
	if u.mayConnect() {
		return b.options.Agent, u, nil
	}
	err := fmt.Errorf("%w: it is %s", fault.ErrAgentUnavailable, u.State)
	if u.Reason != "" {
		err = fmt.Errorf("%w: %s", err, u.Reason)
	}
	return nil, u, err
}

// OnAgent has f told whenever AgentActive changes. It must not wait.
func (b *Broker) OnAgent(f func(active bool)) { b.agent.changed.Store(&f) }

// Flush has the agent make everything durable that was probed before the call
// and returns the cursor after it. It starts an agent that does not run, where
// its socket does.
func (b *Broker) Flush(ctx context.Context) (logstore.Cursor, error) {
	if b.options.Agent == nil {
		return logstore.Cursor{}, fmt.Errorf("cannot flush: %w", fault.ErrAgentUnavailable)
	}
	return b.options.Agent.Flush(ctx)
}
