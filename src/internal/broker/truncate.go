// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/logstore/frame"
	"crypto-auditing/src/internal/logstore/retention"
	"crypto-auditing/src/internal/logstore/segment"
)

// ReadRule is what it means for a part of the log that all durable
// subscriptions have read it or have been passed over it, or that one has not.
type ReadRule string

// The meanings.
const (
	// Ignore: nothing.
	Ignore ReadRule = "ignore"
	// Keep: what has not been read stays, whatever the limits say.
	Keep ReadRule = "keep"
	// Drop: what has been read goes at once. Without a durable subscription
	// nothing counts as read.
	Drop ReadRule = "drop"
)

// Policy says how much of the log is kept. Zero is no limit.
type Policy struct {
	MaxAge time.Duration
	// MaxSize and KeepFree are bytes: of the log at most, and of its file
	// system to be left free. Negative: a tenth of the file system, at most 4
	// GiB, and 15 % of it.
	MaxSize, KeepFree int64
	Reading           ReadRule
	// Hold is how old what a lagging subscription has not read may become.
	Hold time.Duration
}

// Check reports what cannot be; the error is an *ArgumentError.
func (p *Policy) Check() error {
	switch p.Reading {
	case Ignore, Keep, Drop:
		return nil
	}
	return &ArgumentError{"reading", fmt.Sprintf("%q is none of %s, %s and %s", p.Reading, Ignore, Keep, Drop)}
}

// Truncation is what Truncate came to.
type Truncation struct {
	Bytes    int64
	Segments int
	Oldest   logstore.Cursor
}

// Policy is the configured one.
func (b *Broker) Policy() Policy { return b.options.Policy }

// Truncate has the agent remove the segments that a policy says have to go, on
// behalf of a user. It fills in the policy of by: the limits that the segments
// exceed. The error is an *ArgumentError, a *StoreError, or wraps ErrAgentUnavailable.
func (b *Broker) Truncate(ctx context.Context, p Policy, by Remover) (Truncation, error) {
	if err := p.Check(); err != nil {
		return Truncation{}, err
	}
	if err := b.fillIn(&p); err != nil {
		return Truncation{}, err
	}
	plan := retention.Policy{MaxAge: p.MaxAge, MaxSize: p.MaxSize, KeepFree: p.KeepFree}
	read, durable := b.lowWater()
	switch p.Reading {
	case Keep:
		plan.Reading, plan.Read = retention.ReadFirst, math.MaxUint64
		if durable {
			held, err := b.heldUntil(p.Hold)
			if err != nil {
				return Truncation{}, &StoreError{err}
			}
			plan.Read = max(read.Sequence, held)
		}
	case Drop:
		if durable {
			plan.Reading, plan.Read = retention.ReadGoes, read.Sequence
		}
	}
	going, err := retention.Plan(b.options.LogDir, plan, b.options.Now(), nil)
	if err != nil {
		return Truncation{}, &StoreError{err}
	}
	var t Truncation
	if len(going) > 0 {
		store, err := b.resolve(logstore.OldestWord)
		if err != nil {
			return Truncation{}, err
		}
		if b.options.Agent == nil {
			return Truncation{}, fmt.Errorf("cannot remove a part of the log: %w", ErrAgentUnavailable)
		}
		before := logstore.Cursor{Store: store.Store, Sequence: going[len(going)-1].Last}
		by.Policy = p.describe(going)
		if t.Bytes, t.Segments, err = b.options.Agent.Remove(ctx, before, by); err != nil {
			return Truncation{}, err
		}
		b.log.Info("truncated the log", "bytes", t.Bytes, "segments", t.Segments, "uid", by.UID, "user", by.User, "policy", by.Policy)
	}
	t.Oldest, err = b.resolve(logstore.OldestWord)
	return t, err
}

// describe returns the parts of a policy because of which segments go, such as
// "max-age=720h0m0s, max-size=1073741824".
func (p *Policy) describe(going []retention.Segment) string {
	var parts []string
	for _, c := range []struct {
		reason retention.Reason
		text   string
	}{
		{retention.Age, "max-age=" + p.MaxAge.String()},
		{retention.Size, "max-size=" + strconv.FormatInt(p.MaxSize, 10)},
		{retention.Free, "keep-free=" + strconv.FormatInt(p.KeepFree, 10)},
		{retention.Read, "reading=" + string(p.Reading)},
	} {
		if slices.ContainsFunc(going, func(s retention.Segment) bool { return s.Reason == c.reason }) {
			parts = append(parts, c.text)
		}
	}
	return strings.Join(parts, ", ")
}

// fillIn replaces limits that depend on the file system.
func (b *Broker) fillIn(p *Policy) error {
	if p.MaxSize >= 0 && p.KeepFree >= 0 {
		return nil
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(b.options.LogDir, &fs); err != nil {
		return &StoreError{fmt.Errorf("cannot get the size of the file system of %s: %w", b.options.LogDir, err)}
	}
	// As journald.conf(5) has them.
	const sizePart, sizeBound, freePercent = 10, 4 << 30, 15
	total := int64(fs.Blocks) * fs.Bsize
	if p.MaxSize < 0 {
		p.MaxSize = min(total/sizePart, sizeBound)
	}
	if p.KeepFree < 0 {
		p.KeepFree = total / 100 * freePercent
	}
	return nil
}

// lowWater returns the position up to which all durable subscriptions have
// read; ok is false if there are none.
func (b *Broker) lowWater() (low logstore.Cursor, ok bool) {
	newest, err := b.resolve(logstore.NewestWord)
	if err != nil {
		return low, true // nothing counts as read
	}
	low = newest
	for _, s := range b.all() {
		if s.name == "" {
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

// heldUntil returns the sequence up to which the log is too old for a lagging
// subscription to hold it.
func (b *Broker) heldUntil(hold time.Duration) (uint64, error) {
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
		old, last, err := endsBefore(filepath.Join(b.options.LogDir, segment.Name(first)), limit)
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

// endsBefore reports whether a segment ends before a real time, and with which
// sequence.
func endsBefore(path string, t int64) (bool, uint64, error) {
	s, err := segment.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return true, 0, nil
	}
	if err != nil {
		return false, 0, err
	}
	defer s.Close()
	b, ok, err := s.Bounds()
	if err != nil || !ok {
		return false, 0, err
	}
	return frame.RealTime(b.LastTime, b.Offset) < t, b.Last, nil
}
