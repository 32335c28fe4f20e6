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

// Agent is the broker's interface to the agent. Errors wrap
// fault.ErrAgentUnavailable if the agent does not answer. Methods may be called
// concurrently.
type Agent interface {
	// Status returns the agent's status.
	Status(context.Context) (status.Agent, error)
	// Flush makes everything durable that was captured before the call and
	// returns the cursor after it.
	Flush(context.Context) (logstore.Cursor, error)
	// Remove removes the segments that end at or before a cursor, on behalf of a
	// user.
	Remove(ctx context.Context, before logstore.Cursor, by retention.Remover) (bytes int64, segments int, err error)
	// Follow calls following once the agent answers, then committed for each committed
	// chunk, with the cursor after it, until ctx is done or the agent stops
	// reporting. Chunks committed before the first call of committed may be omitted.
	Follow(ctx context.Context, following func(), committed func(logstore.Cursor)) error
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
	// AgentUnmanaged means that no service manager runs the agent: only
	// connecting to it reveals whether it runs.
	AgentUnmanaged AgentState = "unmanaged"
)

// AgentUnit is the agent's state according to the service manager.
type AgentUnit struct {
	State AgentState
	// Since is the time of its last start or stop, zero if unknown.
	Since time.Time
	// Reason is the reason for a failure, or for an unknown state.
	Reason string
}

// mayConnect reports whether connecting cannot start the agent.
func (u *AgentUnit) mayConnect() bool {
	return u.State == AgentRunning || u.State == AgentStarting || u.State == AgentUnmanaged
}

// callPause is the time before an agent that stopped reporting is called again. An
// agent that has exited is called again after this time once the log grows, which
// shows that it runs.
const callPause = time.Second

// agentLink follows the agent while it runs. It never starts the agent.
type agentLink struct {
	agent Agent
	// unit asks the service manager for the agent's state; nil if no service
	// manager runs the agent, so that connecting starts nothing.
	unit   func(context.Context) AgentUnit
	tail   *tail.Tail
	log    *slog.Logger
	active atomic.Bool
	// known is closed once it is known whether the agent runs.
	known     chan struct{}
	knownOnce sync.Once
	// changed is called after a change of active.
	changed atomic.Pointer[func(bool)]
	// grown is notified when the log has grown or the agent was seen running.
	grown wakeup.Signal
}

func newAgentLink(a Agent, unit func(context.Context) AgentUnit, t *tail.Tail, log *slog.Logger) *agentLink {
	l := &agentLink{agent: a, unit: unit, tail: t, log: log, known: make(chan struct{}), grown: wakeup.New()}
	if a == nil {
		l.set(false)
	}
	return l
}

// set records whether the agent runs.
func (l *agentLink) set(active bool) {
	changed := l.active.Swap(active) != active
	l.knownOnce.Do(func() { close(l.known) })
	if f := l.changed.Load(); changed && f != nil {
		(*f)(active)
	}
}

// query returns the agent's state.
func (l *agentLink) query(ctx context.Context) AgentUnit {
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
	logged := ""
	for ctx.Err() == nil {
		reason, follow := "", false
		if u := l.query(ctx); u.mayConnect() {
			err := l.follow(ctx, func() { logged = "" })
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
		if reason != logged {
			logged = reason
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

// follow follows the agent until it stops reporting.
func (l *agentLink) follow(ctx context.Context, connected func()) error {
	err := l.agent.Follow(ctx, func() {
		l.set(true)
		connected()
	}, l.tail.Reported)
	l.tail.NotReporting()
	l.set(false)
	return err
}

// await waits until the agent may be running again.
func (l *agentLink) await(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-l.grown:
	}
}

// noteGrowth records that the log has grown.
func (l *agentLink) noteGrowth() { l.grown.Notify() }

// AgentActive reports whether the agent runs. In a broker that has just started it
// waits until that is known.
func (b *Broker) AgentActive() bool {
	select {
	case <-b.agent.known:
	case <-time.After(agentTime):
	}
	return b.agent.active.Load()
}

// runningAgent returns the agent for a call that must not start it. The error wraps
// fault.ErrAgentUnavailable.
func (b *Broker) runningAgent(ctx context.Context) (Agent, AgentUnit, error) {
	if b.options.Agent == nil {
		return nil, AgentUnit{State: AgentUnknown}, fault.ErrAgentUnavailable
	}
	u := b.agent.query(ctx)
	if u.mayConnect() {
		return b.options.Agent, u, nil
	}
	err := fmt.Errorf("%w: it is %s", fault.ErrAgentUnavailable, u.State)
	if u.Reason != "" {
		err = fmt.Errorf("%w: %s", err, u.Reason)
	}
	return nil, u, err
}

// OnAgent sets a function that is called after each change of AgentActive. It must not block.
func (b *Broker) OnAgent(f func(active bool)) { b.agent.changed.Store(&f) }

// Flush asks the agent to make everything durable that was captured before the
// call, and returns the cursor after it. If the agent is stopped and its socket is
// active, this starts the agent.
func (b *Broker) Flush(ctx context.Context) (logstore.Cursor, error) {
	if b.options.Agent == nil {
		return logstore.Cursor{}, fmt.Errorf("cannot flush: %w", fault.ErrAgentUnavailable)
	}
	return b.options.Agent.Flush(ctx)
}
