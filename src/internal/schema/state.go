// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/fxamacker/cbor/v2"

	"crypto-auditing/src/internal/event"
)

// stateVersion is the version of the form of a saved builder.
const stateVersion = 1

// savedBuilder is a Builder in its saved form.
type savedBuilder struct {
	_         struct{} `cbor:",toarray"`
	Version   int
	Order     uint64
	Libraries []savedLibrary
	// Roots are in the order of the last events of their trees. Spans are those of the trees in
	// the same order, parents first.
	Roots []savedRoot
	Spans []savedSpan
}

type (
	savedLibrary struct {
		_    struct{} `cbor:",toarray"`
		ID   []byte
		Name string
	}
	savedRoot struct {
		_    struct{} `cbor:",toarray"`
		Last int64
		Size int // number of spans
	}
)

type savedSpan struct {
	_                                              struct{} `cbor:",toarray"`
	Parent                                         int      // index of the parent in the tree; -1 for the root
	Context                                        []byte
	Name, Origin, Executable, Unit, Source, Joined []byte // they may not be UTF-8
	Start, End, Last                               int64
	Order                                          uint64
	Headless, Cut, Self, Named, Tentative          bool
	Latest                                         bool // of its id
	Data                                           []savedDatum
}

type savedDatum struct {
	_                     struct{} `cbor:",toarray"`
	Key                   []byte
	Kind                  uint8
	Word                  int64
	Bytes                 []byte
	Truncated, Unreadable bool
}

// Save returns the incomplete trees and what else the builder knows, for Load. The builder must not
// be Ordered.
func (b *Builder) Save() ([]byte, error) {
	saved := savedBuilder{Version: stateVersion, Order: b.order}
	for _, id := range sortedKeys(b.libraries) {
		saved.Libraries = append(saved.Libraries, savedLibrary{ID: []byte(id), Name: b.libraries[id]})
	}
	for t := b.active.front; t != nil; t = t.next {
		before := len(saved.Spans)
		saved.Spans = b.save(saved.Spans, t.root, -1, before)
		saved.Roots = append(saved.Roots, savedRoot{Last: t.last, Size: len(saved.Spans) - before})
	}
	data, err := cbor.Marshal(&saved)
	if err != nil {
		return nil, fmt.Errorf("cannot save incomplete operations: %w", err)
	}
	return data, nil
}

// save appends a span and its descendants. first is the index of the root.
func (b *Builder) save(list []savedSpan, s *Span, parent, first int) []savedSpan {
	at := len(list) - first
	saved := savedSpan{
		Parent: parent, Context: s.Context[:], Name: []byte(s.Name), Origin: []byte(s.Origin), Executable: []byte(s.Executable),
		Unit: []byte(s.Unit), Source: []byte(s.Source), Joined: []byte(s.Joined), Start: s.Start, End: s.End, Last: s.Last, Order: s.order,
		Headless: s.Headless, Cut: s.Cut, Self: s.self, Named: s.named, Tentative: s.tentative, Latest: b.latest.Get(&s.Context) == s,
	}
	if len(s.Data) > 0 {
		saved.Data = make([]savedDatum, len(s.Data))
	}
	for i := range s.Data {
		d := &s.Data[i]
		v := &d.Value
		saved.Data[i] = savedDatum{
			Key: []byte(d.Key), Kind: uint8(v.Kind), Word: v.Word, Bytes: v.Bytes, Truncated: v.Truncated, Unreadable: v.Unreadable,
		}
	}
	list = append(list, saved)
	for _, inner := range s.Spans {
		if inner != nil {
			list = b.save(list, inner, at, first)
		}
	}
	return list
}

// Load makes an empty builder continue where another one was saved.
func (b *Builder) Load(data []byte) error {
	mode, err := cbor.DecOptions{MaxArrayElements: math.MaxInt32}.DecMode()
	if err != nil {
		return err
	}
	var saved savedBuilder
	if err := mode.Unmarshal(data, &saved); err != nil {
		return fmt.Errorf("cannot load incomplete operations: %w", err)
	}
	if saved.Version != stateVersion {
		return fmt.Errorf("cannot load incomplete operations: their form has version %d instead of %d", saved.Version, stateVersion)
	}
	trees := make([]*tree, 0, len(saved.Roots))
	spans := saved.Spans
	for _, r := range saved.Roots {
		if r.Size < 1 || r.Size > len(spans) {
			return fmt.Errorf("cannot load incomplete operations: one has %d spans", r.Size)
		}
		t, err := b.load(spans[:r.Size], r.Last)
		if err != nil {
			return err
		}
		trees = append(trees, t)
		spans = spans[r.Size:]
	}
	b.order = saved.Order
	for _, l := range saved.Libraries {
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

// load restores a tree.
func (b *Builder) load(saved []savedSpan, last int64) (*tree, error) {
	t := b.memory.tree()
	spans := make([]*Span, len(saved))
	for i := range saved {
		from := &saved[i]
		if len(from.Context) != len(event.ContextID{}) || from.Parent >= i || (from.Parent < 0) != (i == 0) {
			return nil, fmt.Errorf("cannot load incomplete operations: span %d of one is not valid", i)
		}
		s := b.memory.span()
		spans[i] = s
		s.Context, s.Start, s.End, s.Last, s.order = event.ContextID(from.Context), from.Start, from.End, from.Last, from.Order
		s.Name, s.Origin, s.Executable = b.words.Of(from.Name), b.words.Of(from.Origin), b.words.Of(from.Executable)
		s.Unit, s.Source, s.Joined = b.words.Of(from.Unit), b.words.Of(from.Source), b.words.Of(from.Joined)
		s.Headless, s.Cut, s.self, s.named, s.tentative = from.Headless, from.Cut, from.Self, from.Named, from.Tentative
		if s.named {
			s.context = b.registry.Context(s.Name)
		}
		for j := range from.Data {
			d := &from.Data[j]
			s.set(b.words.Of(d.Key), &event.Value{
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
