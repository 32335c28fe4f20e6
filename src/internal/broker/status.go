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
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/logstore/prune"
	"crypto-auditing/src/internal/logstore/segment"
	"crypto-auditing/src/internal/status"
)

// agentTime bounds the query of the agent's status.
const agentTime = 5 * time.Second

// Status returns the current status, without the version. It asks the agent if
// it runs, and never starts it.
func (b *Broker) Status(ctx context.Context) status.Broker {
	s := status.Broker{Started: b.started}
	trouble := b.tail.Err()
	if err := b.logStatus(&s); err != nil {
		trouble = err
	}
	if trouble != nil {
		s.StoreError = trouble.Error()
	}
	b.retained(ctx, &s)
	for _, subscription := range b.all() {
		s.Subscriptions++
		if subscription.Sink() != nil {
			s.Attached++
		}
	}
	s.Streams = uint64(b.streams.Held())
	b.agentStatus(ctx, &s)
	return s
}

// logStatus fills in the range and the size of the log.
func (b *Broker) logStatus(s *status.Broker) error {
	oldest, err := b.Oldest()
	newest := logstore.Cursor{}
	if err == nil {
		newest, err = b.Newest()
	}
	s.Oldest, s.Newest = oldest.String(), newest.String()
	if err != nil {
		return err
	}
	segments, bytes, err := b.DiskUsage()
	if err != nil {
		return err
	}
	s.Segments, s.DiskUsage = uint64(segments), bytes
	free, err := prune.FreeSpace(b.options.LogDir)
	if err != nil {
		return &fault.StoreError{Err: err}
	}
	s.DiskFree = uint64(free)
	return b.checkSegments()
}

// agentStatus fills in the state of the agent.
func (b *Broker) agentStatus(ctx context.Context, s *status.Broker) {
	ctx, cancel := context.WithTimeout(ctx, agentTime)
	defer cancel()
	agent, unit, err := b.runningAgent(ctx)
	s.AgentState, s.AgentSince = string(unit.State), unit.Since
	if err != nil {
		if unit.State != AgentStopped {
			s.AgentError = err.Error()
		}
		return
	}
	answer, err := agent.Status(ctx)
	switch {
	case err == nil:
		s.Agent, s.AgentState, s.AgentActive = &answer, string(AgentRunning), true
		if s.AgentSince.IsZero() {
			s.AgentSince = answer.Started
		}
		// It may have been started without writing to the log yet.
		b.agent.noteGrowth()
		return
	case unit.State != AgentUnmanaged:
		s.AgentActive = unit.State == AgentRunning
	case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.ENOENT):
		// The socket is not active.
		s.AgentState = string(AgentStopped)
	default:
		s.AgentState = string(AgentUnknown)
	}
	s.AgentError = err.Error()
}

// Unreadable returns the reason why a part of the log cannot be read at present, a *fault.StoreError.
func (b *Broker) Unreadable() error {
	if err := b.checkSegments(); err != nil {
		return err
	}
	return &fault.StoreError{Err: errors.New("the newest segment could not be read; try again")}
}

// checkSegments checks whether all segments can be read. The error is a
// *fault.StoreError.
func (b *Broker) checkSegments() error {
	list, err := segment.List(b.options.LogDir)
	if err != nil {
		return &fault.StoreError{Err: err}
	}
	newest, _ := b.tail.Cache.Newest()
	return b.source.Check(list, newest.Store)
}

// Summary describes in one line who is being served.
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

// EventsLost returns the number of events lost in the time that the log covers.
func (b *Broker) EventsLost() uint64 {
	var s status.Broker
	b.retained(context.Background(), &s)
	return s.EventsLost
}

// retained fills in the notices of the segments that exist now.
func (b *Broker) retained(ctx context.Context, s *status.Broker) {
	b.notices.Wait(ctx)
	list, err := segment.List(b.options.LogDir)
	if err != nil {
		list = nil // there is no log, which is reported elsewhere
	}
	b.notices.Fill(s, list)
}

// Newest returns the cursor of the newest entry. The error is a *fault.StoreError.
func (b *Broker) Newest() (logstore.Cursor, error) { return b.source.Resolve(logstore.NewestWord) }

// Oldest returns the cursor before the oldest entry. The error is a *fault.StoreError.
func (b *Broker) Oldest() (logstore.Cursor, error) { return b.source.Resolve(logstore.OldestWord) }

// DiskUsage returns the number of the log's segments and their size. The error is
// a *fault.StoreError.
func (b *Broker) DiskUsage() (segments int, bytes uint64, err error) {
	list, err := segment.List(b.options.LogDir)
	if err != nil {
		return 0, 0, &fault.StoreError{Err: err}
	}
	for _, first := range list {
		// A segment that was removed in the meantime occupies nothing.
		if info, err := os.Stat(filepath.Join(b.options.LogDir, segment.Name(first))); err == nil {
			bytes += uint64(info.Size())
		}
	}
	return len(list), bytes, nil
}
