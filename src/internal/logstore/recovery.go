// SPDX-License-Identifier: Apache-2.0

package logstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"crypto-auditing/src/internal/logstore/file"
	"crypto-auditing/src/internal/logstore/frame"
	"crypto-auditing/src/internal/logstore/segment"
)

const (
	// jump is the distance by which sequences jump over those that may have been read and
	// are lost.
	jump = 1 << 32
	// farthest is the maximum distance of the name of an unreadable segment from the last
	// sequence. A name further away is not by this project: it would leave no numbers for
	// future entries.
	farthest = 1 << 48
)

// storeEnd is the state from which a store is continued.
type storeEnd struct {
	store [16]byte
	last  frame.Header // of the last whole chunk; no entries if there is none
	next  uint64
	hash  frame.Hash
	// touched is the last time at which the writer is known to have run, from the
	// modification time of the newest segment; 0 if unknown.
	touched int64
	// found is the first sequence of the newest segment, 0 if there is none.
	found uint64
	// foreign are files that have names of segments but do not belong to the store.
	foreign map[uint64]error
}

// before returns the last sequence of the store, 0 if there is none.
func (e *storeEnd) before() uint64 {
	if e.last.Entries == 0 {
		return 0
	}
	return e.last.LastSequence()
}

// recoverStore determines the end of the store in dir. lastCursor is the cursor that the last
// writer left in the lock file.
func recoverStore(ctx context.Context, dir string, boot [16]byte, lastCursor string) (storeEnd, error) {
	list, err := segment.List(dir)
	if err != nil {
		return storeEnd{}, err
	}
	store, known, err := storeOf(dir, list, lastCursor)
	if err != nil {
		return storeEnd{}, err
	}
	if !known {
		return newStore(list)
	}
	end, own, err := endOf(ctx, dir, list, store)
	if err == nil && len(own) == 0 {
		// Another log was put into the directory, for example a backup.
		other, found, majorityErr := segment.MajorityID(dir, list)
		if majorityErr == nil && found && other != store {
			store = other
			end, own, err = endOf(ctx, dir, list, store)
		}
	}
	if err != nil {
		return storeEnd{}, err
	}
	if end.last.Entries == 0 {
		fresh, err := newStore(list)
		fresh.foreign = end.foreign
		return fresh, err
	}
	end.skip(list, own)
	if end.next == 0 {
		end.next = end.before() + 1
		if end.last.BootID != boot && lastCursor != (Cursor{Store: store, Sequence: end.before()}).String() {
			end.next = end.before() + jump
		}
	}
	end.touched = touchedAt(dir, end.found)
	return end, nil
}

// endOf determines the last whole chunk of a store, and the segments that belong or may
// belong to it.
func endOf(ctx context.Context, dir string, list []uint64, store [16]byte) (end storeEnd, own []uint64, err error) {
	end = storeEnd{store: store, foreign: map[uint64]error{}}
	for _, first := range list {
		_, err := segment.Check(dir, first, store)
		_, unreadable := segment.AsUnreadable(err)
		var foreign *segment.ForeignError
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err == nil:
			own = append(own, first)
		case errors.As(err, &foreign), unreadable:
			end.foreign[first] = err
		default:
			return end, nil, err
		}
	}
	return end, own, end.findLast(ctx, dir, own)
}

// findLast finds the chunk with the highest sequence. Normally this is in the newest segment
// that has any.
func (e *storeEnd) findLast(ctx context.Context, dir string, own []uint64) error {
	for i := len(own) - 1; i >= 0; i-- {
		path := filepath.Join(dir, segment.Name(own[i]))
		if e.last.Entries != 0 {
			last, err := lastSequence(ctx, path)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil || last <= e.before() {
				continue
			}
		}
		last, ok, err := lastChunk(ctx, path, e.store)
		if _, unreadable := segment.AsUnreadable(err); unreadable {
			e.foreign[own[i]] = err
			continue
		}
		if err != nil {
			return err
		}
		if ok && (e.last.Entries == 0 || last.LastSequence() > e.before()) {
			e.last, e.hash = last, last.Hash
		}
	}
	return nil
}

// skip makes the sequences jump over unreadable segments. Their entries may have been read
// by others, and only their names are known.
func (e *storeEnd) skip(list, own []uint64) {
	for _, first := range list {
		_, unreadable := segment.AsUnreadable(e.foreign[first])
		if first <= e.before() || e.foreign[first] != nil && !unreadable {
			continue
		}
		if first-e.before() > farthest {
			e.foreign[first] = &segment.ForeignError{Name: segment.Name(first), Detail: "no log can have so many entries"}
			continue
		}
		e.next = first + jump
	}
	for _, first := range own {
		if e.foreign[first] == nil {
			e.found = first
		}
	}
}

// storeOf returns the id of the store from its identity file or, in a log of version 0.1.0,
// from the lock file, which is equally protected against writing by others.
func storeOf(dir string, list []uint64, lastCursor string) (id [16]byte, known bool, err error) {
	if id, ok := segment.Identity(dir); ok {
		return id, true, nil
	}
	if c, err := ParseCursor(lastCursor); err == nil && len(list) > 0 {
		return c.Store, true, nil
	}
	id, known, err = segment.StoreID(dir, list)
	if _, unreadable := segment.AsUnreadable(err); unreadable || errors.Is(err, fs.ErrNotExist) {
		return id, false, nil
	}
	return id, known, err
}

func newStore(list []uint64) (storeEnd, error) {
	end := storeEnd{next: 1, foreign: map[uint64]error{}}
	if _, err := rand.Read(end.store[:]); err != nil {
		return end, fmt.Errorf("cannot make store id: %w", err)
	}
	for _, first := range list {
		if first <= farthest {
			end.found = first
			end.next = first + jump
		}
	}
	end.hash = frame.Genesis(end.store)
	return end, nil
}

func lastChunk(ctx context.Context, path string, store [16]byte) (frame.Header, bool, error) {
	s, err := segment.Open(path)
	if err != nil {
		return frame.Header{}, false, err
	}
	defer s.Close()
	return s.Last(ctx, store)
}

// lastSequence returns the last sequence of a segment from its headers.
func lastSequence(ctx context.Context, path string) (uint64, error) {
	s, err := segment.Open(path)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	b, ok, err := s.Bounds(ctx)
	if err != nil || !ok {
		return 0, err
	}
	return b.Last, nil
}

// writeIdentity writes the id of the store to its file, unless the file has it.
func writeIdentity(dir string, id [16]byte) error {
	if have, ok := segment.Identity(dir); ok && have == id {
		return nil
	}
	path := filepath.Join(dir, segment.IdentityName)
	temporary := path + ".tmp"
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot write the id of the log: %w", err)
	}
	// Readers need the file, too.
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, file.Mode)
	if err != nil {
		return fmt.Errorf("cannot write the id of the log: %w", err)
	}
	if _, err = f.Write(segment.IdentityText(id)); err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err == nil {
		err = file.Plain{}.SyncDirectory(dir)
	}
	if err != nil {
		return fmt.Errorf("cannot write the id of the log: %w", err)
	}
	return nil
}
