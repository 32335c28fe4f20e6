// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"strings"
	"time"

	"crypto-auditing/src/internal/broker/fault"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/logstore/frame"
	"crypto-auditing/src/internal/logstore/prune"
	"crypto-auditing/src/internal/logstore/segment"
	"crypto-auditing/src/internal/retention"
)

// Truncation is the result of Truncate.
type Truncation struct {
	Bytes    int64
	Segments int
	Oldest   logstore.Cursor
}

// Policy returns the configured policy.
func (b *Broker) Policy() retention.Policy { return b.options.Policy }

// Truncate has the agent remove the segments that a policy selects, on behalf of a
// user. It fills in the policy of by, the limits that the segments exceed, and
// force. The error is a *fault.ArgumentError, a *fault.StoreError, or wraps
// fault.ErrAgentUnavailable.
func (b *Broker) Truncate(ctx context.Context, p retention.Policy, by retention.Remover) (Truncation, error) {
	if err := p.Check(); err != nil {
		return Truncation{}, &fault.ArgumentError{Argument: "reading", Problem: err.Error()}
	}
	plan := p
	read, durable := b.lowWater()
	switch {
	case p.Reading == retention.Keep && durable:
		held, err := b.heldUntil(ctx, p.Hold)
		if err != nil {
			return Truncation{}, &fault.StoreError{Err: err}
		}
		plan.Read = max(read.Sequence, held)
	case p.Reading == retention.Keep:
		plan.Read = math.MaxUint64
	case durable:
		plan.Read = read.Sequence
	default:
		plan.Reading = retention.Ignore // ignore what subscribers have read
	}
	going, err := prune.Plan(ctx, b.options.LogDir, plan, b.options.Now(), nil)
	if err != nil {
		return Truncation{}, &fault.StoreError{Err: err}
	}
	// checkForce above has decided without force, by what has been read.
	by.Policy, by.Force = describe(&p, going), true
	if err := b.checkForce(p.Force, going, by.Policy); err != nil {
		return Truncation{}, err
	}
	var t Truncation
	if len(going) > 0 {
		store, err := b.Oldest()
		if err != nil {
			return Truncation{}, err
		}
		agent, _, err := b.runningAgent(ctx)
		if err != nil {
			return Truncation{}, fmt.Errorf("cannot remove a part of the log: %w", err)
		}
		before := logstore.Cursor{Store: store.Store, Sequence: going[len(going)-1].Last}
		if t.Bytes, t.Segments, err = agent.Remove(ctx, before, by); err != nil {
			return Truncation{}, err
		}
		b.log.Info("truncated the log", "bytes", t.Bytes, "segments", t.Segments, "uid", by.UID, "user", by.User, "policy", by.Policy)
	}
	t.Oldest, err = b.Oldest()
	return t, err
}

// describe returns the rules of a policy that select segments, such as
// "max-age=30d, max-size=1G".
func describe(p *retention.Policy, going []prune.Segment) string {
	var parts []string
	for _, d := range prune.Decided(p, going) {
		parts = append(parts, d.Key+"="+d.Value)
	}
	return strings.Join(parts, ", ")
}

// checkForce refuses to remove the whole log at once without force. Segments that
// all subscribers have read do not count: retention.Drop exists to remove them.
func (b *Broker) checkForce(force bool, going []prune.Segment, policy string) error {
	unread, bytes := 0, int64(0)
	for _, s := range going {
		bytes += s.Bytes
		if s.Reason != prune.Read {
			unread++
		}
	}
	if force || unread < 2 {
		return nil
	}
	all, err := prune.All(b.options.LogDir, going)
	if err != nil {
		return &fault.StoreError{Err: err}
	}
	if !all {
		return nil
	}
	return &fault.ArgumentError{Argument: "force", Problem: fmt.Sprintf(
		"%s would remove the whole log at once (%d segments, %d bytes); if that is meant, set force, as crauctl vacuum --force does",
		policy, len(going), bytes)}
}

// lowWater returns the position up to which all durable subscriptions have read; ok
// is false if there are none.
func (b *Broker) lowWater() (low logstore.Cursor, ok bool) {
	newest, err := b.Newest()
	if err != nil {
		return low, true // ignore what subscribers have read
	}
	low = newest
	for _, s := range b.all() {
		if s.Name() == "" {
			continue
		}
		ok = true
		at := s.Status().Position
		if at.Store != newest.Store {
			at.Sequence = 0
		}
		low.Sequence = min(low.Sequence, at.Sequence)
	}
	return low, ok
}

// heldUntil returns the sequence up to which the log is too old to be held for a
// lagging subscription.
func (b *Broker) heldUntil(ctx context.Context, hold time.Duration) (uint64, error) {
	if hold == 0 {
		return 0, nil
	}
	list, err := segment.List(b.options.LogDir)
	if err != nil {
		return 0, err
	}
	limit := b.options.Now().Add(-hold).UnixNano()
	var until uint64
	for _, first := range list {
		old, last, err := endsBefore(ctx, filepath.Join(b.options.LogDir, segment.Name(first)), limit)
		if err != nil {
			return 0, err
		}
		if !old {
			break
		}
		until = max(until, last)
	}
	return until, nil
}

// endsBefore reports whether a segment ends before a real time, and its last
// sequence.
func endsBefore(ctx context.Context, path string, t int64) (bool, uint64, error) {
	s, err := segment.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return true, 0, nil
	}
	if err != nil {
		return false, 0, err
	}
	defer s.Close()
	b, ok, err := s.Bounds(ctx)
	if err != nil || !ok {
		return false, 0, err
	}
	return frame.RealTime(b.LastTime, b.Offset) < t, b.Last, nil
}
