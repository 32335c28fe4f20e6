// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/fxamacker/cbor/v2"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/schema/saved"
)

// Save writes the incomplete trees and the other state of the builder, for Load. The builder must
// not be Ordered.
func (b *Builder) Save(w io.Writer) error {
	all := saved.Builder{Version: saved.Version, Order: b.order, Trees: b.active.count}
	for _, id := range sortedKeys(b.libraries) {
		all.Libraries = append(all.Libraries, saved.Library{ID: []byte(id), Name: b.libraries[id]})
	}
	encoder := cbor.NewEncoder(w)
	err := encoder.Encode(&all)
	var record saved.Tree // its memory is reused
	for t := b.active.front; t != nil && err == nil; t = t.next {
		record.Last, record.Spans = t.last, b.save(record.Spans[:0], t.root, -1)
		err = encoder.Encode(&record)
	}
	if err != nil {
		return fmt.Errorf("cannot save incomplete operations: %w", err)
	}
	return nil
}

// save appends a span and its descendants.
func (b *Builder) save(list []saved.Span, s *Span, parent int) []saved.Span {
	at := len(list)
	list = slices.Grow(list, 1)[:at+1]
	list[at] = saved.Span{
		Parent: parent, Context: s.Context[:], Name: []byte(s.Name), Origin: []byte(s.Origin), Executable: []byte(s.Executable),
		Unit: []byte(s.Unit), Source: []byte(s.Source), Joined: []byte(s.Joined), Start: s.Start, End: s.End, Last: s.Last, Order: s.order,
		Headless: s.Headless, Cut: s.Cut, Self: s.self, Named: s.named, Tentative: s.tentative, Latest: b.latest.Get(&s.Context) == s,
		Data: slices.Grow(list[at].Data[:0], len(s.Data)),
	}
	for i := range s.Data {
		d := &s.Data[i]
		v := &d.Value
		list[at].Data = append(list[at].Data, saved.Datum{
			Key: []byte(d.Key), Kind: uint8(v.Kind), Word: v.Word, Bytes: v.Bytes, Truncated: v.Truncated, Unreadable: v.Unreadable,
		})
	}
	for _, inner := range s.Spans {
		if inner != nil {
			list = b.save(list, inner, at)
		}
	}
	return list
}

// Load makes an empty builder continue where another one was saved.
func (b *Builder) Load(r io.Reader) error {
	decoder := cbor.NewDecoder(r)
	var all saved.Builder
	if err := decoder.Decode(&all); err != nil {
		return fmt.Errorf("cannot load incomplete operations: %w", err)
	}
	if all.Version != saved.Version {
		return fmt.Errorf("cannot load incomplete operations: their form has version %d instead of %d", all.Version, saved.Version)
	}
	var trees []*tree
	var record saved.Tree // its memory is reused
	for range all.Trees {
		clear(record.Spans)
		if err := decoder.Decode(&record); err != nil {
			return fmt.Errorf("cannot load incomplete operations: %w", err)
		}
		t, err := b.load(record.Spans, record.Last)
		if err != nil {
			return err
		}
		trees = append(trees, t)
	}
	b.order = all.Order
	for _, l := range all.Libraries {
		b.libraries[string(l.ID)] = l.Name
	}
	for _, t := range trees {
		b.active.push(t)
	}
	slices.SortFunc(trees, func(x, y *tree) int { return cmp.Compare(x.order, y.order) })
	for _, t := range trees {
		b.opened.push(t)
	}
	return nil
}

// Incomplete passes copies of the incomplete trees to visit, as if they were complete. A copy is valid
// until visit returns.
func (b *Builder) Incomplete(visit func(*Span)) {
	for t := b.active.front; t != nil; t = t.next {
		root := b.copy(t.root)
		root.settle(b.libraries)
		visit(root)
		b.memory.release(root)
	}
}

func (b *Builder) copy(s *Span) *Span {
	c := b.memory.span()
	data, spans := c.Data, c.Spans
	*c = *s
	c.Data, c.Spans, c.index = data, spans, nil
	for i := range s.Data {
		c.set(s.Data[i].Key, &s.Data[i].Value)
	}
	for _, inner := range s.Spans {
		if inner != nil {
			c.Spans = append(c.Spans, b.copy(inner))
		}
	}
	return c
}

// load restores a tree.
func (b *Builder) load(list []saved.Span, last int64) (*tree, error) {
	if len(list) == 0 {
		return nil, errors.New("cannot load incomplete operations: one has no span")
	}
	t := b.memory.tree()
	spans := make([]*Span, len(list))
	for i := range list {
		from := &list[i]
		if len(from.Context) != len(event.ContextID{}) || from.Parent >= i || (from.Parent < 0) != (i == 0) {
			return nil, fmt.Errorf("cannot load incomplete operations: span %d of one is not valid", i)
		}
		s := b.memory.span()
		spans[i] = s
		s.Context, s.Start, s.End, s.Last, s.order = event.ContextID(from.Context), from.Start, from.End, from.Last, from.Order
		s.Name, s.Origin, s.Executable = b.words.Intern(from.Name), b.words.Intern(from.Origin), b.words.Intern(from.Executable)
		s.Unit, s.Source, s.Joined = b.words.Intern(from.Unit), b.words.Intern(from.Source), b.words.Intern(from.Joined)
		s.Headless, s.Cut, s.self, s.named, s.tentative = from.Headless, from.Cut, from.Self, from.Named, from.Tentative
		if s.named {
			s.context = b.registry.Context(s.Name)
		}
		for j := range from.Data {
			d := &from.Data[j]
			s.set(b.words.Intern(d.Key), &event.Value{
				Kind: event.ValueKind(d.Kind), Word: d.Word, Bytes: d.Bytes, Truncated: d.Truncated, Unreadable: d.Unreadable,
			})
		}
		if i > 0 {
			s.attach(spans[from.Parent])
		}
		if from.Latest {
			b.latest.Set(&s.Context, s)
		}
		t.bytes += s.size()
	}
	t.root, t.order, t.last = spans[0], spans[0].order, last
	t.root.tree = t
	b.bytes += t.bytes
	return t, nil
}
