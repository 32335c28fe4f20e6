// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"crypto-auditing/src/internal/broker/fault"
	"crypto-auditing/src/internal/broker/notices"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/logstore/retention"
	"crypto-auditing/src/internal/logstore/segment"
)

// Status is what there is to say about broker, agent and log.
type Status struct {
	Started        time.Time
	Oldest, Newest logstore.Cursor
	Disk           Disk
	// Notices is what the retained log reports of itself.
	Notices notices.Summary
	// Subscriptions counts all, Attached those that are sent somewhere.
	Subscriptions, Attached, Streams int
	// StoreError is why the log, or the segment that it names, cannot be read
	// now; nil: all of it can.
	StoreError error

	// AgentState is the state of the agent's service, AgentSince when it was
	// started, or ended; zero: unknown. AgentActive: it runs.
	AgentState  AgentState
	AgentSince  time.Time
	AgentActive bool
	// Agent is what it says, nil if it does not. AgentError is why: nil if it
	// was stopped.
	Agent      *AgentStatus
	AgentError error
}

// Disk is what the log takes.
type Disk struct {
	Segments int
	// Bytes are those of all segments, Free those that the file system has
	// left for others than root.
	Bytes, Free uint64
}

// agentTime bounds how long the agent is asked how it is.
const agentTime = 5 * time.Second

// Status returns how things are now. It asks the agent if that runs, and never
// starts it.
func (b *Broker) Status(ctx context.Context) Status {
	s := Status{Started: b.started, StoreError: b.tail.Err()}
	var err error
	if s.Oldest, err = b.Oldest(); err == nil {
		s.Newest, err = b.source.Resolve(logstore.NewestWord)
	}
	if err == nil {
		s.Disk, err = b.Disk()
	}
	if err == nil {
		err = b.checkSegments()
	}
	if err != nil {
		s.StoreError = err
	}
	s.Notices = b.retained(ctx)
	b.mu.Lock()
	s.Subscriptions, s.Streams = len(b.subscriptions), b.streams.Held()
	b.mu.Unlock()
	for _, subscription := range b.all() {
		if subscription.Sink() != nil {
			s.Attached++
		}
	}
	b.agentStatus(ctx, &s)
	return s
}

// agentStatus fills in what is known of the agent.
func (b *Broker) agentStatus(ctx context.Context, s *Status) {
	ctx, cancel := context.WithTimeout(ctx, agentTime)
	defer cancel()
	agent, unit, err := b.askAgent(ctx)
	s.AgentState, s.AgentSince = unit.State, unit.Since
	if err != nil {
		if unit.State != AgentStopped {
			s.AgentError = err
		}
		return
	}
	status, err := agent.Status(ctx)
	switch {
	case err == nil:
		s.Agent, s.AgentState, s.AgentActive = &status, AgentRunning, true
		if s.AgentSince.IsZero() {
			s.AgentSince = status.Started
		}
		// It may have been started without a change of the log.
		b.agent.noteGrowth()
	case unit.State != AgentUnmanaged:
		s.AgentError, s.AgentActive = err, unit.State == AgentRunning
	case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.ENOENT):
		// Nothing listens on the socket.
		s.AgentState, s.AgentError = AgentStopped, err
	default:
		s.AgentState, s.AgentError = AgentUnknown, err
	}
}

// Unreadable returns why a part of the log cannot be read now, a *fault.StoreError.
func (b *Broker) Unreadable() error {
	if err := b.checkSegments(); err != nil {
		return err
	}
	return &fault.StoreError{Err: errors.New("the newest segment could not be read; try again")}
}

// checkSegments looks whether all segments can be read. The error is a
// *fault.StoreError.
func (b *Broker) checkSegments() error {
	list, err := segment.List(b.options.LogDir)
	if err != nil {
		return &fault.StoreError{Err: err}
	}
	newest, _ := b.tail.Cache.Newest()
	return b.source.Check(list, newest.Store)
}

// Summary says in a line who is served.
func (b *Broker) Summary() string {
	attached := 0
	all := b.all()
	for _, s := range all {
		if s.Sink() != nil {
			attached++
		}
	}
	return fmt.Sprintf("%d subscriptions, %d attached, %d streams", len(all), attached, b.streams.Held())
}

// EventsLost is how many events were lost in the time of the retained log.
func (b *Broker) EventsLost() uint64 {
	n := b.retained(context.Background())
	return n.EventsLost()
}

// retained returns the notices of the segments that are there now.
func (b *Broker) retained(ctx context.Context) notices.Summary {
	b.notices.Wait(ctx)
	list, err := segment.List(b.options.LogDir)
	if err != nil {
		list = nil // there is no log, which is reported elsewhere
	}
	return b.notices.Of(list)
}

// Newest is the cursor of the newest entry, Oldest that before the oldest.
// The error is a *fault.StoreError.
func (b *Broker) Newest() (logstore.Cursor, error) { return b.source.Resolve(logstore.NewestWord) }

// Oldest is the cursor before the oldest entry. The error is a *fault.StoreError.
func (b *Broker) Oldest() (logstore.Cursor, error) { return b.source.Resolve(logstore.OldestWord) }

// Disk returns what the log takes. The error is a *fault.StoreError.
func (b *Broker) Disk() (Disk, error) {
	list, err := segment.List(b.options.LogDir)
	if err != nil {
		return Disk{}, &fault.StoreError{Err: err}
	}
	d := Disk{Segments: len(list)}
	for _, first := range list {
		// A segment that is removed meanwhile takes nothing.
		if info, err := os.Stat(filepath.Join(b.options.LogDir, segment.Name(first))); err == nil {
			d.Bytes += uint64(info.Size())
		}
	}
	free, err := retention.FreeSpace(b.options.LogDir)
	if err != nil {
		return d, &fault.StoreError{Err: err}
	}
	d.Free = uint64(free)
	return d, nil
}
