// SPDX-License-Identifier: Apache-2.0

// Package prune decides which segments of a store go: whole ones, oldest first,
// never the newest. It removes nothing itself.
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

// Segment is one that goes.
type Segment struct {
	// First and Last are its sequences.
	First, Last uint64
	Bytes       int64
	Reason      Reason
}

// Reason is why a segment goes: the key of a rule of retention.Policy.
type Reason string

// The reasons.
const (
	Age  Reason = "max-age"
	Size Reason = "max-size"
	Free Reason = "keep-free"
	Read Reason = "reading"
)

// Decided returns the rules of a policy because of which segments go.
func Decided(p *retention.Policy, segments []Segment) []retention.Decision {
	return p.Decided(func(key string) bool {
		return slices.ContainsFunc(segments, func(s Segment) bool { return s.Reason == Reason(key) })
	})
}

// FreeSpace returns how many bytes of the file system of dir an unprivileged
// process may still use. It is what Plan asks unless told otherwise.
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

// Plan returns the segments of the store in dir that have to go now, oldest
// first. free tells the free space of dir; nil means FreeSpace.
func Plan(ctx context.Context, dir string, policy retention.Policy, now time.Time, free func(dir string) (int64, error)) ([]Segment, error) {
	list, err := segment.List(dir)
	if err != nil {
		return nil, err
	}
	return PlanOf(ctx, dir, list, policy, now, free)
}

// PlanOf is Plan for those segments of a store whose first sequences are in
// list, in order. The newest of them stays.
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
		goes, err := p.goes(ctx, &s)
		if err != nil || !goes {
			return plan, err
		}
		p.total -= s.Bytes
		p.free += s.Bytes
		plan = append(plan, s)
	}
	return plan, nil
}

// All reports whether a plan removes the whole store in dir but for the active
// segment, at once: every closed segment, of which there are at least two. The
// only closed one may go in the course of things.
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

// before returns the last sequence before a segment: what its header says, for
// sequences may have jumped, or else the one before its name.
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

// size returns the length of a segment's file, 0 if it is gone.
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
	// maxSize and keepFree are the limits of the policy in bytes.
	maxSize, keepFree int64
	// total and free are as they will be when what is planned is gone.
	total, free int64
}

// bound sets the limits in bytes.
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

// goes decides about the oldest segment that is left and fills in why.
func (p *planner) goes(ctx context.Context, s *Segment) (bool, error) {
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

// old reports whether the newest entry of a segment is older than MaxAge. What
// cannot be read is as old as its file.
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
