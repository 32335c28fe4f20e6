// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"crypto-auditing/src/internal/logstore"
)

// Agent is what the broker needs of the agent. Errors that mean it does not
// answer wrap ErrAgentUnavailable. Its methods may be called from any
// goroutine.
type Agent interface {
	// Status is what the agent says of itself.
	Status(context.Context) (AgentStatus, error)
	// Flush makes everything durable that was probed before the call and
	// returns the cursor behind it.
	Flush(context.Context) (logstore.Cursor, error)
	// Remove removes the segments that hold nothing after a cursor, on behalf
	// of a user.
	Remove(ctx context.Context, before logstore.Cursor, by Remover) (bytes int64, segments int, err error)
	// Follow calls following once the agent answers, then told for each chunk
	// committed, until ctx is done or the agent tells no more. Chunks committed
	// before the first call of told may be left out.
	Follow(ctx context.Context, following func(), told func(logstore.Cursor)) error
}

// Remover is the user that has a part of the log removed, and the policy that
// says so, such as "max-age=30d". Force allows removing the whole log at once.
type Remover struct {
	UID          uint32
	User, Policy string
	Force        bool
}

// AgentStatus is what an agent says of itself.
type AgentStatus struct {
	Version   string
	Started   time.Time
	Profile   string
	Directory string
	// Full says why the disk takes nothing; empty: it does.
	Full                                   string
	HitsSeen, Hits, Events, Groups, Chunks uint64
	Lost                                   []AgentLoss
	RingSize, RingHighWater                uint64
	CPU                                    time.Duration
	Resident                               uint64
	Libraries                              []AgentLibrary
	Problem                                string
}

// AgentLoss is what an agent has lost for one reason.
type AgentLoss struct {
	Place, Reason string
	Hits, Events  uint64
}

// AgentLibrary is a file with probes.
type AgentLibrary struct {
	// BuildID is hex digits.
	Path, BuildID, Provider string
	Probes                  []string
	Sites, Hits             uint64
	// Attached is how, Since when; zero: it is not.
	Attached string
	Since    time.Time
	Replaced bool
	Error    string
}

// callPause is how long to leave an agent alone that does not follow any more.
// After it, one that has left is called again once the log grows, for then it
// is there again. To call it before would start it, against the will of whoever
// has stopped it.
const callPause = time.Second

// agentLink follows the agent.
type agentLink struct {
	agent  Agent
	tail   *tail
	log    *slog.Logger
	active atomic.Bool
	// changed is told when active has changed.
	changed atomic.Pointer[func(bool)]
	// grown is poked when the log has grown.
	grown chan struct{}
}

func newAgentLink(a Agent, t *tail, log *slog.Logger) *agentLink {
	return &agentLink{agent: a, tail: t, log: log, grown: make(chan struct{}, 1)}
}

// set notes whether the agent is there.
func (l *agentLink) set(active bool) {
	if l.active.Swap(active) == active {
		return
	}
	if f := l.changed.Load(); f != nil {
		(*f)(active)
	}
}

// run follows the agent until ctx is done.
func (l *agentLink) run(ctx context.Context) {
	if l.agent == nil {
		return
	}
	told := ""
	for ctx.Err() == nil {
		err := l.agent.Follow(ctx, func() {
			l.set(true)
			told = ""
		}, func(logstore.Cursor) {
			l.tail.told.Store(true)
			l.tail.poke()
		})
		l.tail.told.Store(false)
		l.tail.poke()
		l.set(false)
		if ctx.Err() != nil {
			return
		}
		if reason := err.Error(); reason != told {
			told = reason
			l.log.Info("the agent is away: the log is watched", "reason", reason)
		}
		sleep(ctx, callPause)
		if errors.Is(err, ErrAgentUnavailable) {
			l.await(ctx)
		}
	}
}

// await waits until the agent may be there again.
func (l *agentLink) await(ctx context.Context) {
	select {
	case <-l.grown:
	default:
	}
	select {
	case <-ctx.Done():
	case <-l.grown:
	}
}

// noteGrowth says that the log has grown.
func (l *agentLink) noteGrowth() {
	select {
	case l.grown <- struct{}{}:
	default:
	}
}

// AgentActive reports whether the agent is there and recording.
func (b *Broker) AgentActive() bool { return b.agent.active.Load() }

// OnAgent has f told whenever AgentActive changes. It must not wait.
func (b *Broker) OnAgent(f func(active bool)) { b.agent.changed.Store(&f) }

// Flush has the agent make everything durable that was probed before the call
// and returns the cursor behind it.
func (b *Broker) Flush(ctx context.Context) (logstore.Cursor, error) {
	if b.options.Agent == nil {
		return logstore.Cursor{}, fmt.Errorf("cannot flush: %w", ErrAgentUnavailable)
	}
	return b.options.Agent.Flush(ctx)
}
