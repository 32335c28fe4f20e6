// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"time"

	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/logstore/retention"
	"crypto-auditing/src/internal/logstore/segment"
)

// Status is what there is to say about broker, agent and log.
type Status struct {
	Started        time.Time
	Oldest, Newest logstore.Cursor
	Disk           Disk
	// EventsLost is the number of events that the log says were lost, since the
	// broker began to look; Lost has it by reason.
	EventsLost uint64
	Lost       map[string]uint64
	// Subscriptions counts all, Attached those that are sent somewhere.
	Subscriptions, Attached, Streams int
	// StoreError says why the log cannot be read; nil: it can.
	StoreError error

	AgentActive bool
	// Agent is what it says, nil if it does not; then AgentError says why.
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

// Status returns how things are now. It asks the agent, which starts it where
// it is started by its socket.
func (b *Broker) Status(ctx context.Context) Status {
	s := Status{Started: b.started, StoreError: b.tail.err(), AgentActive: b.AgentActive()}
	var err error
	if s.Oldest, err = b.Oldest(); err == nil {
		s.Newest, err = b.resolve(logstore.NewestWord)
	}
	if err == nil {
		s.Disk, err = b.Disk()
	}
	if err != nil {
		s.StoreError = err
	}
	b.mu.Lock()
	s.Lost = maps.Clone(b.lost)
	s.Subscriptions, s.Streams = len(b.subscriptions), b.open
	b.mu.Unlock()
	for _, n := range s.Lost {
		s.EventsLost += n
	}
	for _, subscription := range b.all() {
		if subscription.Sink() != nil {
			s.Attached++
		}
	}
	if b.options.Agent == nil {
		s.AgentError = ErrAgentUnavailable
		return s
	}
	ctx, cancel := context.WithTimeout(ctx, agentTime)
	defer cancel()
	agent, err := b.options.Agent.Status(ctx)
	if err != nil {
		s.AgentError = err
		return s
	}
	s.Agent = &agent
	return s
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
	b.mu.Lock()
	defer b.mu.Unlock()
	return fmt.Sprintf("%d subscriptions, %d attached, %d streams", len(all), attached, b.open)
}

// EventsLost is the number of events that the log says were lost, since the
// broker began to look.
func (b *Broker) EventsLost() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	var sum uint64
	for _, n := range b.lost {
		sum += n
	}
	return sum
}

// Newest is the cursor of the newest entry, Oldest that before the oldest.
// The error is a *StoreError.
func (b *Broker) Newest() (logstore.Cursor, error) { return b.resolve(logstore.NewestWord) }

// Oldest is the cursor before the oldest entry. The error is a *StoreError.
func (b *Broker) Oldest() (logstore.Cursor, error) { return b.resolve(logstore.OldestWord) }

// Disk returns what the log takes. The error is a *StoreError.
func (b *Broker) Disk() (Disk, error) {
	list, err := segment.List(b.options.LogDir)
	if err != nil {
		return Disk{}, &StoreError{err}
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
		return d, &StoreError{err}
	}
	d.Free = uint64(free)
	return d, nil
}
