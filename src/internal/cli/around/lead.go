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

// lead searches backwards for the beginnings of the operations that groups with the sign
// belong to. It returns the first entry to read, and entries that are known to belong to
// the operations, including the beginnings of their contexts.
func (r *Reader) lead(ctx context.Context, hits []hit) (start uint64, theirs map[uint64]bool, err error) {
	first, last := hits[0], hits[len(hits)-1]
	l := &leader{
		Reader: r, hits: map[uint64]bool{}, theirs: map[uint64]bool{}, open: map[event.ContextID]bool{},
		begun: map[event.ContextID]uint64{}, parents: map[event.ContextID]uint64{}, names: map[event.ContextID]string{},
		start: first.sequence,
	}
	for _, h := range hits {
		l.hits[h.sequence] = true
	}
	to := r.cursor(last.sequence)
	for size := uint64(firstPage); ; size = min(2*size, maxPage) {
		from, more, err := r.Log.Back(to, size)
		if err != nil {
			return 0, nil, err
		}
		if !more || from.Sequence <= r.After {
			from, more = r.cursor(r.After), false
		}
		at, err := l.page(ctx, from.Sequence, to.Sequence)
		if err != nil {
			return 0, nil, err
		}
		back := first.sequence - min(from.Sequence, first.sequence)
		if !more || from.Sequence < first.sequence &&
			(l.certain(from.Sequence) || back >= farBack || back >= near && at < first.at-int64(longest)) {
			return l.start, l.theirs, nil
		}
		to = from
	}
}

// leader searches backwards from groups to the beginnings of their operations.
type leader struct {
	*Reader

	hits map[uint64]bool
	// theirs are the entries found, open the contexts whose beginning was not found
	// yet. begun maps contexts to the entry of their beginning; it is not certain, as
	// an announcement of the context may precede it.
	theirs map[uint64]bool
	open   map[event.ContextID]bool
	begun  map[event.ContextID]uint64
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
func (l *leader) page(ctx context.Context, from, to uint64) (at int64, err error) {
	if _, err := l.Log.Seek(l.cursor(from)); err != nil {
		return 0, err
	}
	l.records = l.records[:0]
	var g event.Group
	for n := 0; ; n++ {
		if n%checks == 0 && ctx.Err() != nil {
			return 0, ctx.Err()
		}
		_, boot, err := l.Log.Next(&g)
		if errors.As(err, new(*source.GapError)) {
			continue // reading forwards reports it
		}
		if err != nil && err != io.EOF {
			return 0, err
		}
		if err == io.EOF || l.Log.Sequence() > to {
			break
		}
		if g.IsMetadata() {
			continue
		}
		if len(l.records) == 0 {
			at = event.WallTime(boot, g.Start)
		}
		parent, opens := opening(&g)
		l.records = append(l.records, record{l.Log.Sequence(), g.Context, parent, opens, hasData(&g), l.word(nameOf(&g))})
	}
	for _, record := range slices.Backward(l.records) {
		l.back(&record)
	}
	return at, nil
}

// word returns a name as a string, without allocation if the registry has it.
func (l *leader) word(name []byte) string {
	if c := l.Registry.Context(string(name)); c != nil {
		return c.Name
	}
	return string(name)
}

// certain reports whether all beginnings are known, once all entries after from were
// processed.
func (l *leader) certain(from uint64) bool {
	if len(l.open) > 0 {
		return false
	}
	for _, waits := range []map[event.ContextID]uint64{l.begun, l.parents} {
		for _, at := range waits {
			if at == 0 || from > 0 && at-from < near {
				return false
			}
		}
	}
	return true
}

// back processes one group.
func (l *leader) back(r *record) {
	if l.hits[r.sequence] {
		l.meet(r.context)
		delete(l.begun, r.context)
	}
	if _, waits := l.parents[r.context]; waits {
		l.meet(r.context)
	}
	if _, begun := l.begun[r.context]; begun {
		delete(l.begun, r.context)
		if !r.opens || r.hasData {
			return
		}
		// This group announces the context, so it is the same one.
		l.open[r.context] = true
	}
	if !l.open[r.context] {
		return
	}
	l.start, l.theirs[r.sequence] = min(l.start, r.sequence), true
	if r.name != "" {
		l.names[r.context] = r.name
	}
	if !r.opens {
		return
	}
	alone := l.Registry.StandsAlone(l.names[r.context])
	switch {
	case r.parent != r.context:
		// The parent may be a context that no group opens.
		delete(l.open, r.context)
		if at, waits := l.parents[r.parent]; !waits || !alone && at != 0 {
			l.parents[r.parent] = 0
			if alone {
				l.parents[r.parent] = r.sequence
			}
		}
	case alone:
		delete(l.open, r.context)
		l.begun[r.context] = r.sequence
	default:
		delete(l.names, r.context)
	}
}

// meet records that a group of a context was found, whose beginning is needed.
func (l *leader) meet(id event.ContextID) {
	delete(l.parents, id)
	delete(l.names, id)
	l.open[id] = true
}
