// SPDX-License-Identifier: Apache-2.0

// Package around reads only the parts of a log with selected operations: it finds the
// groups that have a sign, a property of each selected operation, and reads around each
// of them as far as its operation may extend.
package around

import (
	"context"
	"errors"
	"io"
	"maps"
	"math"
	"slices"
	"time"

	"crypto-auditing/src/internal/cli/source"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/schema"
)

// An operation ends after near entries and the time quiet, or after far entries, without
// a group of it. Entries more than most after a group with the sign do not belong to its
// operation.
const (
	near  = 4096
	quiet = 5 * time.Second
	far   = 32768
	most  = 4 * far
)

// The backward search for the beginning of an operation ends after farBack entries, or
// after near entries and the time longest, if the beginning is not certain before.
const (
	farBack = 65536
	longest = time.Minute
)

// maxNearby is the number of nearby groups with the sign beyond which all groups around
// them are read, not only those of their operations.
const maxNearby = 64

// Sink receives the groups that a Reader reads. Groups and bytes are valid until the
// method returns.
type Sink interface {
	// Begin announces that groups from the entry start follow; math.MaxUint64: after
	// the end. Operations that ended before start can be shown. Operations that began
	// later must be shown in order with those that follow. Begin returns the entries
	// of operations that were not shown, to be passed again. If all is set, all groups
	// from start are passed, including those of operations that began later.
	Begin(start uint64, all bool) (repeat []uint64)
	// Group receives a group of a selected operation, or any group if all was set, in
	// the order of the log.
	Group(sequence uint64, g *event.Group, raw []byte, boot int64)
	// Notice receives a group about the log itself, each once.
	Notice(g *event.Group, raw []byte, boot int64)
	// Gap receives an unreadable part of the log, each once.
	Gap(gap *source.GapError)
	// End ends the operations whose groups were passed. Later groups belong to
	// others.
	End() error
}

// Options of a Reader.
type Options struct {
	Registry *schema.Registry
	// Has reports whether a group has the sign.
	Has func(g *event.Group) bool
	// Finder has at least the groups with the sign and the notices, and is positioned
	// where reading begins. Log has all groups of the operations.
	Finder, Log source.Store
	// After is the entry after which the log is read.
	After uint64
}

// Reader reads around the groups with a sign. It must be used by one goroutine only.
type Reader struct {
	Options

	sink  Sink
	store logstore.Cursor
	// end is the last entry that was checked for the sign, noted the last notice that
	// was passed on.
	end, noted uint64
	// taken are the entries that were passed to the sink.
	taken map[uint64]struct{}
	gaps  map[string]bool
}

// New returns a Reader.
func New(o Options, sink Sink) *Reader {
	return &Reader{Options: o, sink: sink, taken: map[uint64]struct{}{}, gaps: map[string]bool{}}
}

// hit is a group with the sign.
type hit struct {
	sequence uint64
	context  event.ContextID
	at       int64
}

// Read reads to the end of the log.
func (r *Reader) Read(ctx context.Context) error {
	newest, _, err := r.Log.Ends()
	if err != nil {
		return err
	}
	r.store = newest
	for {
		hits, err := r.find(ctx)
		if err != nil || hits == nil {
			return err
		}
		for len(hits) > 0 {
			if hits, err = r.region(ctx, hits); err != nil {
				return err
			}
			if err := r.sink.End(); err != nil {
				return err
			}
		}
		r.sink.Begin(math.MaxUint64, false)
		if _, err := r.Finder.Seek(r.cursor(r.end)); err != nil {
			return err
		}
	}
}

func (r *Reader) cursor(sequence uint64) logstore.Cursor {
	return logstore.Cursor{Store: r.store.Store, Sequence: sequence}
}

// checks is the number of groups between two checks of the context.
const checks = 256

// find returns the next group with the sign, nil at the end of the log.
func (r *Reader) find(ctx context.Context) ([]hit, error) {
	var g event.Group
	for n := 0; ; n++ {
		raw, boot, err := r.next(ctx, n, r.Finder, &g)
		if err == io.EOF {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		if raw == nil {
			continue
		}
		if sequence := r.Finder.Sequence(); r.Has(&g) {
			return []hit{{sequence, g.Context, event.WallTime(boot, g.Start)}}, nil
		}
	}
}

// next returns the next group of a store. raw is nil if it was a gap or a notice, which
// next passes to the sink.
func (r *Reader) next(ctx context.Context, n int, s source.Store, g *event.Group) (raw []byte, boot int64, err error) {
	if n%checks == 0 && ctx.Err() != nil {
		return nil, 0, ctx.Err()
	}
	raw, boot, err = s.Next(g)
	var gap *source.GapError
	if errors.As(err, &gap) {
		if !r.gaps[gap.Error()] {
			r.gaps[gap.Error()] = true
			r.sink.Gap(gap)
		}
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	if g.IsMetadata() {
		if sequence := s.Sequence(); sequence > r.noted {
			r.noted = sequence
			r.sink.Notice(g, raw, boot)
		}
		return nil, 0, nil
	}
	return raw, boot, nil
}

// region reads around nearby groups with the sign, and returns the groups with the sign
// that it met and that belong to other operations.
func (r *Reader) region(ctx context.Context, hits []hit) (later []hit, err error) {
	start, members, err := r.findBeginnings(ctx, hits)
	if err != nil {
		return nil, err
	}
	f := &follower{Reader: r, members: members, ids: map[event.ContextID]bool{}, last: hits[len(hits)-1], all: len(hits) > maxNearby}
	f.touch(f.last.sequence, f.last.at)
	for _, sequence := range r.sink.Begin(start, f.all) {
		delete(r.taken, sequence)
	}
	if start > r.end || len(r.taken) > farBack {
		maps.DeleteFunc(r.taken, func(sequence uint64, _ struct{}) bool { return sequence < start })
	}
	if _, err := r.Log.Seek(r.cursor(start - 1)); err != nil {
		return nil, err
	}
	var g event.Group
	for n := 0; ; n++ {
		raw, boot, err := r.next(ctx, n, r.Log, &g)
		if err == io.EOF {
			return f.end(), nil
		}
		if err != nil {
			return nil, err
		}
		if raw == nil {
			continue
		}
		sequence, at := r.Log.Sequence(), event.WallTime(boot, g.Start)
		if f.over(sequence, at) {
			return f.end(), nil
		}
		if _, before := r.taken[sequence]; !before {
			f.take(&g, raw, boot, sequence, at)
		}
		r.end = max(r.end, sequence)
	}
}

// follower finds the groups of some operations.
type follower struct {
	*Reader

	// members are entries that are known to belong to the operations. ids are the
	// contexts that belong to them at present, and whether they have had data since
	// they were opened. all: all groups are taken.
	members map[uint64]bool
	ids     map[event.ContextID]bool
	all     bool
	// last is the last group with the sign that is read around, later are those of
	// other operations after it.
	last  hit
	later []hit
	// touched and touchedAt are the entry and the time of the last group of the
	// operations.
	touched   uint64
	touchedAt int64
}

// end returns the groups to read around next.
func (f *follower) end() []hit {
	if f.all {
		// All operations with the sign up to here have been passed to the sink.
		f.After = max(f.After, f.last.sequence)
	}
	return f.later
}

func (f *follower) touch(sequence uint64, at int64) {
	f.touched, f.touchedAt = max(f.touched, sequence), max(f.touchedAt, at)
}

// over reports whether the operations have ended.
func (f *follower) over(sequence uint64, at int64) bool {
	if sequence <= f.touched {
		return false
	}
	silent := sequence - f.touched
	return silent > far || silent > near && at-f.touchedAt > int64(quiet) || sequence-min(sequence, f.last.sequence) > most
}

// take passes a group to the sink if it belongs to the operations.
func (f *follower) take(g *event.Group, raw []byte, boot int64, sequence uint64, at int64) {
	has := sequence > f.last.sequence && f.Has(g)
	switch {
	case f.all:
		if has {
			f.last = hit{sequence, g.Context, at}
			f.touch(sequence, at)
		}
	case f.belongs(g, sequence):
		f.touch(sequence, at)
		f.taken[sequence] = struct{}{}
		if has {
			f.last = hit{sequence, g.Context, at}
		}
	default:
		if has {
			f.later = append(f.later, hit{sequence, g.Context, at})
		}
		return
	}
	f.sink.Group(sequence, g, raw, boot)
}

// belongs reports whether a group belongs to one of the operations. Context ids are
// reused: a context that is reopened inside another operation, or as a separate one, no
// longer belongs to them.
func (f *follower) belongs(g *event.Group, sequence uint64) bool {
	parent, opens := opening(g)
	before, known := f.ids[g.Context]
	if opens {
		_, inside := f.ids[parent]
		switch {
		case f.members[sequence], parent != g.Context && inside:
			known = true
		case known && (parent != g.Context || before && f.Registry.StandsAlone(string(nameOf(g)))):
			delete(f.ids, g.Context)
			return false
		}
	}
	known = known || f.members[sequence]
	if known {
		f.ids[g.Context] = hasData(g)
	}
	return known
}

// hasData reports whether a group has data of its context.
func hasData(g *event.Group) bool {
	return slices.ContainsFunc(g.Events, func(e event.Event) bool { return e.Kind == event.Data })
}

// opening returns the parent of the context that a group opens.
func opening(g *event.Group) (parent event.ContextID, ok bool) {
	if len(g.Events) == 0 || g.Events[0].Kind != event.NewContext {
		return parent, false
	}
	return g.Events[0].Parent, true
}

// nameOf returns the name of the context of a group.
func nameOf(g *event.Group) []byte {
	if len(g.Name) > 0 {
		return g.Name
	}
	for i := range g.Events {
		if e := &g.Events[i]; e.Kind == event.Data && string(e.Key) == event.KeyName {
			return e.Value.Bytes
		}
	}
	return nil
}
