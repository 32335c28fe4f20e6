// SPDX-License-Identifier: Apache-2.0

// Package prune selects the segments of a store to remove: whole segments, oldest first,
// never the newest. It does not remove them.
package prune

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"crypto-auditing/src/internal/logstore/frame"
	"crypto-auditing/src/internal/logstore/segment"
	"crypto-auditing/src/internal/retention"
)

// Segment is a segment to remove.
type Segment struct {
	// First and Last are its first and last sequence.
	First, Last uint64
	Bytes       int64
	Reason      Reason
}

// Reason is the reason to remove a segment: the key of a rule of retention.Policy.
type Reason string

// The reasons.
const (
	Age  Reason = "max-age"
	Size Reason = "max-size"
	Free Reason = "keep-free"
	Read Reason = "reading"
)

// Decided returns the rules of a policy that select the segments.
func Decided(p *retention.Policy, segments []Segment) []retention.Decision {
	return p.Decided(func(key string) bool {
		return slices.ContainsFunc(segments, func(s Segment) bool { return s.Reason == Reason(key) })
	})
}

// FreeSpace returns the number of bytes of the file system of dir that an unprivileged
// process may still use. It is the default of Plan.
func FreeSpace(dir string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, fmt.Errorf("cannot ask for free space: %w", &fs.PathError{Op: "statfs", Path: dir, Err: err})
	}
	if s.Bavail > math.MaxInt64/uint64(s.Bsize) {
		return math.MaxInt64, nil
	}
	return int64(s.Bavail) * s.Bsize, nil
}

// Plan returns the segments of the store in dir to remove now, oldest first. free returns
// the free space of dir; nil means FreeSpace.
func Plan(ctx context.Context, dir string, policy retention.Policy, now time.Time, free func(dir string) (int64, error)) ([]Segment, error) {
	list, err := segment.List(dir)
	if err != nil {
		return nil, err
	}
	return PlanOf(ctx, dir, list, policy, now, free)
}

// PlanOf is Plan for the segments of a store whose first sequences are in list, in order. It
// never selects the newest of them.
func PlanOf(ctx context.Context, dir string, list []uint64, policy retention.Policy, now time.Time, free func(dir string) (int64, error)) (plan []Segment, err error) {
	if len(list) < 2 {
		return nil, nil
	}
	p := planner{dir: dir, policy: policy, now: now}
	if err := p.bound(); err != nil {
		return nil, err
	}
	sizes := make([]int64, len(list))
	for i, first := range list {
		if sizes[i], err = size(dir, first); err != nil {
			return nil, err
		}
		p.total += sizes[i]
	}
	if p.keepFree > 0 {
		if free == nil {
			free = FreeSpace
		}
		if p.free, err = free(dir); err != nil {
			return nil, err
		}
	}
	for i, first := range list[:len(list)-1] {
		s := Segment{First: first, Last: before(dir, list[i+1]), Bytes: sizes[i]}
		remove, err := p.shouldRemove(ctx, &s)
		if err != nil || !remove {
			return plan, err
		}
		p.total -= s.Bytes
		p.free += s.Bytes
		plan = append(plan, s)
	}
	return plan, nil
}

// All reports whether a plan removes the whole store in dir at once, except the active
// segment: every closed segment, of which there are at least two. Removing the only closed
// one is normal.
func All(dir string, plan []Segment) (bool, error) {
	if len(plan) < 2 {
		return false, nil
	}
	list, err := segment.List(dir)
	if err != nil {
		return false, err
	}
	return len(list) >= 2 && plan[len(plan)-1].First == list[len(list)-2], nil
}

// before returns the last sequence before a segment, from its header, because sequences may
// have jumped, or else the number before the one in its name.
func before(dir string, first uint64) uint64 {
	s, err := segment.Open(filepath.Join(dir, segment.Name(first)))
	if err != nil {
		return first - 1
	}
	defer s.Close()
	var h frame.Header
	if err := s.Header(0, &h); err != nil || h.Flags&frame.Start == 0 {
		return first - 1
	}
	return h.SequenceBefore
}

// size returns the length of a segment's file, 0 if it does not exist.
func size(dir string, first uint64) (int64, error) {
	info, err := os.Stat(filepath.Join(dir, segment.Name(first)))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("cannot stat segment: %w", err)
	}
	return info.Size(), nil
}

type planner struct {
	dir    string
	policy retention.Policy
	now    time.Time
	// maxSize and keepFree are the limits of the policy, in bytes.
	maxSize, keepFree int64
	// total and free are the sizes after the planned removals, in bytes.
	total, free int64
}

// bound computes the limits in bytes.
func (p *planner) bound() error {
	var total int64
	if p.policy.Depends() {
		var s unix.Statfs_t
		if err := unix.Statfs(p.dir, &s); err != nil {
			return fmt.Errorf("cannot get the size of the file system of the log: %w", &fs.PathError{Op: "statfs", Path: p.dir, Err: err})
		}
		total = int64(s.Blocks) * s.Bsize
	}
	p.maxSize, p.keepFree = p.policy.Bounds(total)
	return nil
}

// shouldRemove reports whether to remove the oldest remaining segment, and sets the reason.
func (p *planner) shouldRemove(ctx context.Context, s *Segment) (bool, error) {
	read := s.Last <= p.policy.Read
	switch {
	case p.policy.Reading == retention.Keep && !read:
		return false, nil
	case p.policy.Reading == retention.Drop && read:
		s.Reason = Read
	case p.maxSize > 0 && p.total > p.maxSize:
		s.Reason = Size
	case p.keepFree > 0 && p.free < p.keepFree:
		s.Reason = Free
	case p.policy.MaxAge > 0:
		old, err := p.old(ctx, s.First)
		if err != nil || !old {
			return false, err
		}
		s.Reason = Age
	default:
		return false, nil
	}
	return true, nil
}

// old reports whether the newest entry of a segment is older than MaxAge. An unreadable
// segment has the age of its file.
func (p *planner) old(ctx context.Context, first uint64) (bool, error) {
	path := filepath.Join(p.dir, segment.Name(first))
	limit := p.now.Add(-p.policy.MaxAge)
	s, err := segment.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	defer s.Close()
	b, ok, err := s.Bounds(ctx)
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	if err == nil && ok {
		return frame.RealTime(b.LastTime, b.Offset) < limit.UnixNano(), nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return errors.Is(err, fs.ErrNotExist), nil
	}
	return info.ModTime().Before(limit), nil
}
