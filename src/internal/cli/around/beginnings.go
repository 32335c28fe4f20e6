// SPDX-License-Identifier: Apache-2.0

package around

import (
	"context"
	"errors"
	"io"
	"slices"

	"crypto-auditing/src/internal/cli/source"
	"crypto-auditing/src/internal/event"
)

// The log is read backwards in pages, whose size in entries grows from firstPage to
// maxPage.
const firstPage, maxPage = 256, 8192

// findBeginnings searches backwards for the beginnings of the operations that groups with the sign
// belong to. It returns the first entry to read, and entries that are known to belong to
// the operations, including the beginnings of their contexts.
func (r *Reader) findBeginnings(ctx context.Context, hits []hit) (start uint64, members map[uint64]bool, err error) {
	first, last := hits[0], hits[len(hits)-1]
	s := &backwardSearch{
		Reader: r, hits: map[uint64]bool{}, members: map[uint64]bool{}, open: map[event.ContextID]bool{},
		begun: map[event.ContextID]uint64{}, parents: map[event.ContextID]uint64{}, names: map[event.ContextID]string{},
		start: first.sequence,
	}
	for _, h := range hits {
		s.hits[h.sequence] = true
	}
	to := r.cursor(last.sequence)
	for size := uint64(firstPage); ; size = min(2*size, maxPage) {
		from, more, err := r.Log.StepBack(to, size)
		if err != nil {
			return 0, nil, err
		}
		if !more || from.Sequence <= r.After {
			from, more = r.cursor(r.After), false
		}
		at, err := s.page(ctx, from.Sequence, to.Sequence)
		if err != nil {
			return 0, nil, err
		}
		distance := first.sequence - min(from.Sequence, first.sequence)
		if !more || from.Sequence < first.sequence &&
			(s.certain(from.Sequence) || distance >= farBack || distance >= near && at < first.at-int64(longest)) {
			return s.start, s.members, nil
		}
		to = from
	}
}

// backwardSearch searches backwards from groups to the beginnings of their operations.
type backwardSearch struct {
	*Reader

	hits map[uint64]bool
	// members are the entries found, open the contexts whose beginning was not found
	// yet. begun maps contexts to the entry of their beginning; it is not certain, as
	// an announcement of the context may precede it.
	members map[uint64]bool
	open    map[event.ContextID]bool
	begun   map[event.ContextID]uint64
	// parents are the parents of contexts that were found, mapped to the entry of
	// the context if it may stand alone, else to 0.
	parents map[event.ContextID]uint64
	names   map[event.ContextID]string
	start   uint64
	records []record
}

// record has the properties of a group that the search needs.
type record struct {
	sequence        uint64
	context, parent event.ContextID
	opens           bool
	hasData         bool
	name            string
}

// page processes the entries after from, up to to, in reverse order. It returns the time
// of the first of them.
func (s *backwardSearch) page(ctx context.Context, from, to uint64) (at int64, err error) {
	if _, err := s.Log.Seek(s.cursor(from)); err != nil {
		return 0, err
	}
	s.records = s.records[:0]
	var g event.Group
	for n := 0; ; n++ {
		if n%checks == 0 && ctx.Err() != nil {
			return 0, ctx.Err()
		}
		_, boot, err := s.Log.Next(&g)
		if errors.As(err, new(*source.GapError)) {
			continue // reading forwards reports it
		}
		if err != nil && err != io.EOF {
			return 0, err
		}
		if err == io.EOF || s.Log.Sequence() > to {
			break
		}
		if g.IsMetadata() {
			continue
		}
		if len(s.records) == 0 {
			at = event.WallTime(boot, g.Start)
		}
		parent, opens := opening(&g)
		s.records = append(s.records, record{s.Log.Sequence(), g.Context, parent, opens, hasData(&g), s.word(nameOf(&g))})
	}
	for _, record := range slices.Backward(s.records) {
		s.process(&record)
	}
	return at, nil
}

// word returns a name as a string, without allocation if the registry has it.
func (s *backwardSearch) word(name []byte) string {
	if c := s.Registry.Context(string(name)); c != nil {
		return c.Name
	}
	return string(name)
}

// certain reports whether all beginnings are known, once all entries after from were
// processed.
func (s *backwardSearch) certain(from uint64) bool {
	if len(s.open) > 0 {
		return false
	}
	for _, waits := range []map[event.ContextID]uint64{s.begun, s.parents} {
		for _, at := range waits {
			if at == 0 || from > 0 && at-from < near {
				return false
			}
		}
	}
	return true
}

// process processes one group.
func (s *backwardSearch) process(r *record) {
	if s.hits[r.sequence] {
		s.needBeginning(r.context)
		delete(s.begun, r.context)
	}
	if _, waits := s.parents[r.context]; waits {
		s.needBeginning(r.context)
	}
	if _, begun := s.begun[r.context]; begun {
		delete(s.begun, r.context)
		if !r.opens || r.hasData {
			return
		}
		// This group announces the context, so it is the same one.
		s.open[r.context] = true
	}
	if !s.open[r.context] {
		return
	}
	s.start, s.members[r.sequence] = min(s.start, r.sequence), true
	if r.name != "" {
		s.names[r.context] = r.name
	}
	if !r.opens {
		return
	}
	alone := s.Registry.StandsAlone(s.names[r.context])
	switch {
	case r.parent != r.context:
		// The parent may be a context that no group opens.
		delete(s.open, r.context)
		if at, waits := s.parents[r.parent]; !waits || !alone && at != 0 {
			s.parents[r.parent] = 0
			if alone {
				s.parents[r.parent] = r.sequence
			}
		}
	case alone:
		delete(s.open, r.context)
		s.begun[r.context] = r.sequence
	default:
		delete(s.names, r.context)
	}
}

// needBeginning records that a group of a context was found, whose beginning is needed.
func (s *backwardSearch) needBeginning(id event.ContextID) {
	delete(s.parents, id)
	delete(s.names, id)
	s.open[id] = true
}
