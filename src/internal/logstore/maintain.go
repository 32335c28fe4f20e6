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

// Removal is what removing segments came to.
type Removal struct {
	Segments []prune.Segment
	Bytes    int64
	// Oldest is the cursor before the oldest entry that is left.
	Oldest Cursor
}

// First and Last return the sequences of the entries that were removed. There
// must be a segment.
func (r *Removal) First() uint64 { return r.Segments[0].First }

// Last returns the last.
func (r *Removal) Last() uint64 { return r.Segments[len(r.Segments)-1].Last }

// Announce returns the entry that reports a removal that is about to happen.
type Announce func(Removal) []byte

// Remove removes the segments that hold nothing behind the cursor: whole
// ones, oldest first, never the active one. announce is as for Retain.
func (w *Writer) Remove(ctx context.Context, before Cursor, announce Announce) (Removal, error) {
	if before.Store != w.store {
		return Removal{}, fmt.Errorf("%w: %s", ErrForeignCursor, before)
	}
	return w.Retain(ctx, retention.Policy{Read: before.Sequence, Reading: retention.Drop}, announce)
}

// Retain removes the segments that a policy says have to go. What was
// removed is returned also if there is an error.
//
// The entry of announce, if that is not nil, is durable before anything is
// removed: a removal without a record would be worse than a record of segments
// that then could not be removed. While they cannot, no further record of them
// is made. Only where the disk has no room for it, the record follows the
// removal.
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

// announce makes the record of a removal, queues it and waits until it is
// durable. It returns what could not be queued.
func (w *Writer) announce(plan []prune.Segment, announce Announce) (*Batch, error) {
	var r Removal
	for _, s := range plan {
		// What was announced and then could not be removed is planned again.
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

// noRoom reports whether the disk is full, so that removing segments helps.
func noRoom(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// recordLate queues a record for which there was no room before.
func (w *Writer) recordLate(b *Batch) error {
	var err error
	for range recordTries {
		if _, err = w.Append(*b); err == nil || !noRoom(err) {
			break
		}
		// It returns when the queue has tried again.
		_, _ = w.Flush()
	}
	if err != nil {
		return fmt.Errorf("cannot record the removal of segments: %w", err)
	}
	return nil
}

// recordTries bounds how often the record of a removal is tried. The queue
// makes pauses in between.
const recordTries = 20

// Sealed is a segment that Seal has been at.
type Sealed struct {
	// Segment is the file name.
	Segment string
	seal.Result
	// Err says why it was left as it is, for one that is damaged.
	Err error
}

// Seal seals the closed segments that are not, oldest first, and calls done
// after each. Damaged ones are left as they are. It takes a second of CPU for some
// 100 MiB, so that it belongs into a goroutine of its own; Removing waits for the segment
// under way.
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
		result, err := w.sealOne(ctx, s, first)
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

// errSettled says that a segment has been found sealed or damaged before.
var errSettled = errors.New("segment needs no sealing")

// sealOne holds the lock for one segment, so that nothing that is being sealed is
// removed and then put back.
func (w *Writer) sealOne(ctx context.Context, s *seal.Sealer, first uint64) (seal.Result, error) {
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

// Maintenance says what Maintain did. One field is set.
type Maintenance struct {
	Sealed  *Sealed
	Removed *Removal
	Err     error
}

// Maintain seals and removes what has to be, at once, whenever a segment has begun
// and at the given interval, until ctx is done. It does so on a thread of
// its own at the lowest priority (setpriority(2)). policy is asked each time; nil
// removes nothing. announce is as for Retain. report is told what was done.
func (w *Writer) Maintain(ctx context.Context, every time.Duration, policy func() retention.Policy, announce Announce, report func(Maintenance)) {
	// The thread ends with the goroutine, since it is not unlocked.
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
