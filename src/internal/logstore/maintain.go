// SPDX-License-Identifier: Apache-2.0

package logstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"crypto-auditing/src/internal/logstore/frame"
	"crypto-auditing/src/internal/logstore/prune"
	"crypto-auditing/src/internal/logstore/seal"
	"crypto-auditing/src/internal/logstore/segment"
	"crypto-auditing/src/internal/retention"
)

// Removal is the result of removing segments.
type Removal struct {
	Segments []prune.Segment
	Bytes    int64
	// Oldest is the cursor before the oldest remaining entry.
	Oldest Cursor
}

// First returns the sequence of the first removed entry. At least one segment must be
// removed.
func (r *Removal) First() uint64 { return r.Segments[0].First }

// Last returns the sequence of the last removed entry.
func (r *Removal) Last() uint64 { return r.Segments[len(r.Segments)-1].Last }

// Announce returns the entry that records a removal before it happens.
type Announce func(Removal) []byte

// Remove removes the segments without entries after the cursor: whole segments, oldest
// first, never the active one. announce is used as in Retain.
func (w *Writer) Remove(ctx context.Context, before Cursor, announce Announce) (Removal, error) {
	if before.Store != w.store {
		return Removal{}, fmt.Errorf("%w: %s", ErrForeignCursor, before)
	}
	return w.Retain(ctx, retention.Policy{Read: before.Sequence, Reading: retention.Drop}, announce)
}

// Retain removes the segments that exceed the limits of a policy. It returns the removed
// segments even on error.
//
// The entry of announce, if announce is not nil, is durable before segments are removed: a
// removal without a record would be worse than a record of segments that then could not be
// removed. While these cannot be removed, they are not recorded again. The record follows
// the removal only if the disk has no space for it.
func (w *Writer) Retain(ctx context.Context, policy retention.Policy, announce Announce) (Removal, error) {
	w.maintenance.Lock()
	defer w.maintenance.Unlock()
	var r Removal
	now := w.opts.Clock.Now()
	list, err := w.list()
	if err != nil {
		return r, fmt.Errorf("cannot remove segments: %w", err)
	}
	plan, err := prune.PlanOf(ctx, w.dir, list, policy, time.Unix(0, frame.RealTime(now.Boot, now.Offset)), w.opts.FreeSpace)
	record, announceErr := w.announce(plan, announce)
	if announceErr != nil && !noRoom(announceErr) {
		return r, fmt.Errorf("cannot record the removal of segments, so nothing was removed: %w", announceErr)
	}
	for _, s := range plan {
		if err = w.opts.Files.Remove(filepath.Join(w.dir, segment.Name(s.First))); err != nil && !errors.Is(err, fs.ErrNotExist) {
			break
		}
		delete(w.settled, s.First)
		w.forget(s.First)
		r.Segments = append(r.Segments, s)
		r.Bytes += s.Bytes
		err = nil
	}
	if len(r.Segments) > 0 {
		if syncErr := w.opts.Files.SyncDirectory(w.dir); err == nil {
			err = syncErr
		}
	}
	if record != nil {
		if recordErr := w.recordLate(record); err == nil {
			err = recordErr
		}
	}
	list, listErr := w.list()
	if err == nil {
		err = listErr
	}
	if len(list) > 0 {
		r.Oldest = Cursor{Store: w.store, Sequence: list[0] - 1}
	}
	if err != nil {
		return r, fmt.Errorf("cannot remove segments: %w", err)
	}
	return r, nil
}

// announce queues the record of a removal and waits until it is durable. It returns the
// record if it could not be queued.
func (w *Writer) announce(plan []prune.Segment, announce Announce) (*Batch, error) {
	var r Removal
	for _, s := range plan {
		// Announced segments that could not be removed are planned again.
		if s.Last > w.announced {
			r.Segments = append(r.Segments, s)
			r.Bytes += s.Bytes
		}
	}
	if announce == nil || len(r.Segments) == 0 {
		return nil, nil
	}
	at := w.opts.Clock.Now().Boot
	b := &Batch{Entries: announce(r), First: at, Last: at, Notice: true}
	b.End()
	if _, err := w.Append(*b); err != nil {
		return b, err
	}
	w.announced = r.Last()
	_, err := w.Flush()
	return nil, err
}

// noRoom reports whether the disk is full, so that removing segments may help.
func noRoom(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// recordLate queues a record for which there was no space before.
func (w *Writer) recordLate(b *Batch) error {
	var err error
	for range recordTries {
		if _, err = w.Append(*b); err == nil || !noRoom(err) {
			break
		}
		// Flush returns after another attempt of the queue.
		_, _ = w.Flush()
	}
	if err != nil {
		return fmt.Errorf("cannot record the removal of segments: %w", err)
	}
	return nil
}

// recordTries limits the attempts to record a removal. The queue pauses between them.
const recordTries = 20

// Sealed is a segment that Seal has processed.
type Sealed struct {
	// Segment is the file name.
	Segment string
	seal.Result
	// Err is the reason why a damaged segment was not sealed.
	Err error
}

// Seal seals the closed segments that are not sealed yet, oldest first, and calls done after
// each. Damaged segments stay as they are. Sealing takes a second of CPU per 100 MiB or so
// and should run in a goroutine of its own. A removal waits for the segment in progress.
func (w *Writer) Seal(ctx context.Context, done func(Sealed)) error {
	list, err := w.list()
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return nil
	}
	s, err := seal.New(seal.Options{
		Store: w.store, EntryLen: w.opts.EntryLen, Terms: w.opts.Terms, Kinds: w.kinds, Files: w.opts.Files,
	})
	if err != nil {
		return err
	}
	defer s.Close()
	for _, first := range list[:len(list)-1] {
		result, err := w.sealSegment(ctx, s, first)
		_, damaged := segment.AsCorrupt(err)
		switch {
		case errors.Is(err, errSettled), errors.Is(err, seal.ErrSealed), errors.Is(err, fs.ErrNotExist):
		case err == nil || damaged:
			done(Sealed{Segment: segment.Name(first), Result: result, Err: err})
		default:
			return err
		}
	}
	return nil
}

// errSettled reports that a segment is known to be sealed or damaged.
var errSettled = errors.New("segment needs no sealing")

// sealSegment holds the lock for one segment, so that a segment cannot be removed while it is
// being sealed and then be put back.
func (w *Writer) sealSegment(ctx context.Context, s *seal.Sealer, first uint64) (seal.Result, error) {
	w.maintenance.Lock()
	defer w.maintenance.Unlock()
	if err := ctx.Err(); err != nil {
		return seal.Result{}, err
	}
	if w.settled[first] {
		return seal.Result{}, errSettled
	}
	result, err := s.Segment(ctx, filepath.Join(w.dir, segment.Name(first)))
	if _, damaged := segment.AsCorrupt(err); err == nil || damaged || errors.Is(err, seal.ErrSealed) {
		w.settled[first] = true
	}
	return result, err
}

// Maintenance is the result of a step of Maintain. One field is set.
type Maintenance struct {
	Sealed  *Sealed
	Removed *Removal
	Err     error
}

// Maintain removes and seals segments as necessary: immediately, whenever a segment is
// started, and at the given interval, until ctx is done. It uses a thread of its own at the
// lowest priority (setpriority(2)). It calls policy each time; nil removes nothing. announce
// is used as in Retain. report receives the results.
func (w *Writer) Maintain(ctx context.Context, every time.Duration, policy func() retention.Policy, announce Announce, report func(Maintenance)) {
	// The thread ends with the goroutine, because it is never unlocked.
	runtime.LockOSThread()
	if err := unix.Setpriority(unix.PRIO_PROCESS, 0, lowest); err != nil {
		report(Maintenance{Err: fmt.Errorf("cannot lower priority of sealing: %w", err)})
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for ctx.Err() == nil {
		if policy != nil {
			removed, err := w.Retain(ctx, policy(), announce)
			if len(removed.Segments) > 0 {
				report(Maintenance{Removed: &removed})
			}
			if err != nil {
				report(Maintenance{Err: err})
			}
		}
		if err := w.Seal(ctx, func(s Sealed) { report(Maintenance{Sealed: &s}) }); err != nil && ctx.Err() == nil {
			report(Maintenance{Err: err})
		}
		select {
		case <-ctx.Done():
		case <-ticker.C:
		case <-w.queue.Begun():
		}
	}
}

const lowest = 19
