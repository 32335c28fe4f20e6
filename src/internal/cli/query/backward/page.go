// SPDX-License-Identifier: Apache-2.0

package backward

import (
	"cmp"
	"context"
	"errors"
	"io"
	"slices"

	"crypto-auditing/src/internal/cli/query/viewer"
	"crypto-auditing/src/internal/cli/render"
	"crypto-auditing/src/internal/cli/source"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/schema"
)

// page is a part of the log that is read as a unit.
type page struct {
	*viewer.Viewer // receives the notices

	source source.Store
	from   logstore.Cursor
	whole  bool // no entry precedes it
	full   bool // it exceeds maxFull, and was not read to its end

	builder *schema.Builder
	// entries are the entries that were passed to the builder: count of the page, then
	// those of reopened trees. spans has the indexes of the entries of each span.
	entries []entry
	count   int
	spans   map[*schema.Span][]int32
	ids     map[event.ContextID]bool // of the contexts that the page uses
	block   []byte                   // memory for the bytes of entries
	trees   []tree
	gaps    viewer.Gaps
	// unplaced are the notices of missing entries.
	unplaced []unplaced
	read     *uint64
	first    uint64 // sequence of its first entry, 0 if empty
	start    int64  // time of its first entry that is not metadata
	// mixed reports whether an entry has several contexts. No agent writes such
	// entries; the trees of the page are then considered final.
	mixed bool
}

// maxFull bounds the entries of a page that is larger than requested.
const maxFull = 8 * maxPage

func newPage(b *backward) *page {
	p := &page{
		Viewer: b.Viewer, source: b.source, read: new(uint64),
		spans: make(map[*schema.Span][]int32), ids: make(map[event.ContextID]bool),
	}
	p.builder = schema.NewBuilder(b.Registry, schema.Options{Ordered: true}, p.root)
	return p
}

// fill reads the page, up to the entry until or, if that is 0, to the end of the log.
func (p *page) fill(ctx context.Context, until uint64) error {
	p.Notices, p.Latest, p.Boot = nil, 0, 0
	var g event.Group
	for n := 0; !p.full; n++ {
		if n%256 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		raw, boot, err := p.source.Next(&g)
		var gap *source.GapError
		switch {
		case err == io.EOF:
			return nil
		case errors.As(err, &gap):
			// A gap before the first entry is part of one that the preceding page reads
			// completely.
			if p.first != 0 || p.whole {
				p.gaps.Add(gap)
				p.missing(gap.Missing)
			}
			continue
		case err != nil:
			return err
		}
		sequence := p.source.Sequence()
		if until != 0 && sequence >= until {
			return nil
		}
		if p.first == 0 {
			p.first = sequence
		}
		if !g.IsMetadata() {
			p.add(&g, sequence, raw, boot)
		} else if m, ok := g.Missing(); ok {
			p.missing(m)
		} else {
			p.builder.Add(&g, boot)
			p.Metadata(&g, raw, boot)
		}
		p.full = p.count == maxFull
	}
	return nil
}

// add adds an entry.
func (p *page) add(g *event.Group, sequence uint64, raw []byte, boot int64) {
	if p.count == 0 {
		p.start = event.WallTime(boot, g.Start)
	}
	p.Latest, p.Boot = max(p.Latest, event.WallTime(boot, g.End)), boot
	p.ids[g.Context] = true
	for i := range g.Events {
		p.mixed = p.mixed || i > 0 && g.Events[i].Kind == event.NewContext
	}
	p.build(g, entry{sequence: sequence, bytes: p.keep(raw), boot: boot, index: uint64(p.count), read: p.read})
	p.count++
}

// blockSize is the allocation size for the bytes of entries.
const blockSize = 64 << 10

// keep returns a copy of bytes.
func (p *page) keep(raw []byte) []byte {
	if len(raw) > cap(p.block)-len(p.block) {
		p.block = make([]byte, 0, max(blockSize, len(raw)))
	}
	start := len(p.block)
	p.block = append(p.block, raw...)
	return p.block[start:len(p.block):len(p.block)]
}

// build passes an entry to the builder.
func (p *page) build(g *event.Group, e entry) {
	if span := p.builder.Add(g, e.boot); span != nil {
		p.spans[span] = append(p.spans[span], int32(len(p.entries)))
		p.entries = append(p.entries, e)
	}
}

// missing records that entries are missing after those that were read.
func (p *page) missing(m event.Missing) {
	if m.Entries == 0 {
		return
	}
	n := render.NewMissing(m, p.Latest, p.Boot)
	p.Notice(n)
	p.unplaced = append(p.unplaced, unplaced{Notice: n, missing: m, end: p.Latest, boot: p.Boot})
}

// root receives a complete tree.
func (p *page) root(root *schema.Span) {
	entries, contexts := 0, 0
	root.Walk(func(s *schema.Span) bool {
		entries, contexts = entries+len(p.spans[s]), contexts+1
		return true
	})
	t := tree{root: root, entries: make([]entry, 0, entries), contexts: make([]event.ContextID, 0, contexts)}
	root.Walk(func(s *schema.Span) bool {
		for _, i := range p.spans[s] {
			t.entries = append(t.entries, p.entries[i])
		}
		delete(p.spans, s)
		t.contexts = append(t.contexts, s.Context)
		return true
	})
	slices.SortFunc(t.entries, func(x, y entry) int { return cmp.Compare(x.sequence, y.sequence) })
	if len(t.entries) == 0 {
		// Its events are in an entry of another tree.
		t.entries = []entry{{sequence: p.first, read: p.read}}
	} else if !p.mixed {
		t.needs = needs(t.entries[0].bytes)
	}
	p.trees = append(p.trees, t)
}

// needs returns the context whose earlier entries change a tree with this first entry:
// its parent, or the context itself if the entry may not be its beginning.
func needs(first []byte) event.ContextID {
	var g event.Group
	if _, err := event.Decode(first, &g); err != nil {
		return event.ContextID{} // it was decoded before
	}
	if e := &g.Events[0]; e.Kind == event.NewContext && e.Parent != g.Context {
		return e.Parent
	}
	return g.Context
}
