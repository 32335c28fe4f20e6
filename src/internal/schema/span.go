// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"cmp"
	"sort"

	"crypto-auditing/src/internal/event"
)

// Span is one use of a context, from the event that opened it to its last event.
type Span struct {
	Context event.ContextID
	// Name is the first name of the context, empty if it has none.
	Name string
	// Origin is the build-id of the library whose probe opened the span, Executable the base
	// name of the process's program file.
	Origin, Executable string
	// Unit is the systemd unit of the process, Source the source of the events
	// (event.Source), empty for USDT. In a complete tree they are also elements with the keys
	// event.KeyUnit and event.KeySource, and the name of the library, if the log reported it
	// before, is the element event.KeyLibrary.
	Unit, Source string
	// Joined is another source with events of the span, empty if there is none: a handshake
	// may be seen both by probes and at its socket.
	Joined string
	// Completed is the number of the entry with the last event of the tree, in a root that is
	// complete, if Builder.At is used.
	Completed uint64
	// Start and End are the times of the group that opened the span, Last the end of the last
	// group with an event of the span, in nanoseconds since the Unix epoch.
	Start, End, Last int64
	// Data has the last value of each key, including the name, in the order of the keys'
	// first elements.
	Data []Datum
	// Spans are the child spans, in the order of their opening.
	Spans []*Span
	// Headless reports that the start of the span is not in the log.
	Headless bool
	// Cut reports that the span is the root of a tree that exceeded the limit of one tree.
	// Later events of it start a new tree.
	Cut bool

	parent *Span
	tree   *tree // of a root, while the tree is built
	self   bool  // opened with its own id as parent
	named  bool
	// tentative is set if the parent was unnamed when the parent of the span was chosen.
	tentative bool
	slot      int // index in parent.Spans
	depth     int
	order     uint64         // of opening
	index     map[string]int // of Data, for spans with many keys
	context   *Context       // of the name, nil if the registry does not have it
}

// Datum is a key with its value.
type Datum struct {
	Key   string
	Value event.Value
}

// Value returns the value of a key.
func (s *Span) Value(key string) (event.Value, bool) {
	if i := s.find(key); i >= 0 {
		return s.Data[i].Value, true
	}
	return event.Value{}, false
}

// Walk calls visit for the span and all spans inside, parents first, until
// visit returns false. It reports whether visit never did.
func (s *Span) Walk(visit func(*Span) bool) bool {
	if !visit(s) {
		return false
	}
	for _, inner := range s.Spans {
		if !inner.Walk(visit) {
			return false
		}
	}
	return true
}

// indexed is the number of keys from which a span uses a map to find them.
const indexed = 16

func (s *Span) find(key string) int {
	if s.index != nil {
		if i, ok := s.index[key]; ok {
			return i
		}
		return -1
	}
	for i := range s.Data {
		if s.Data[i].Key == key {
			return i
		}
	}
	return -1
}

// set sets the value of a key and returns by how many bytes the span grew.
func (s *Span) set(key string, v *event.Value) int {
	if i := s.find(key); i >= 0 {
		old := &s.Data[i].Value
		grown := len(v.Bytes) - len(old.Bytes)
		assign(old, v)
		return grown
	}
	n := len(s.Data)
	switch {
	case n < cap(s.Data):
		s.Data = s.Data[:n+1] // with the bytes of an earlier use
	case n == 0:
		s.Data = make([]Datum, 1, usualData)
	default:
		s.Data = append(s.Data, Datum{})
	}
	d := &s.Data[n]
	d.Key = key
	assign(&d.Value, v)
	switch {
	case s.index != nil:
		s.index[key] = n
	case len(s.Data) == indexed:
		s.index = make(map[string]int, 2*indexed)
		for i := range s.Data {
			s.index[s.Data[i].Key] = i
		}
	}
	return datumSize + len(v.Bytes)
}

// assign copies a value and reuses the memory of the old one.
func assign(to, v *event.Value) {
	kept := append(to.Bytes[:0], v.Bytes...)
	*to = *v
	to.Bytes = kept
}

// usualData is enough keys for most spans.
const usualData = 2

// Sizes in bytes for the memory limits.
const (
	spanSize  = 504 // with its entries in the tables of the builder
	datumSize = 96  // with the slack of append; keys are shared
)

func (s *Span) size() int {
	n := spanSize
	for i := range s.Data {
		n += datumSize + len(s.Data[i].Value.Bytes)
	}
	return n
}

// attach makes the span the last child of parent.
func (s *Span) attach(parent *Span) {
	s.parent, s.slot, s.depth = parent, len(parent.Spans), parent.depth+1
	parent.Spans = append(parent.Spans, s)
}

// detach removes the span from its parent. It leaves a hole, which settle closes, because the
// parent may have any number of spans.
func (s *Span) detach() {
	s.parent.Spans[s.slot] = nil
	s.parent = nil
}

// root returns the root of the span's tree.
func (s *Span) root() *Span {
	for s.parent != nil {
		s = s.parent
	}
	return s
}

// CapturedBy reports whether a source has captured events of the span.
func (s *Span) CapturedBy(source event.Source) bool {
	return event.Source(cmp.Or(s.Source, string(event.USDT))) == source || s.Joined != "" && event.Source(s.Joined) == source
}

// state adds an element for an attribute of the span that is not an element of the log.
func (s *Span) state(key, text string) {
	if text != "" {
		s.set(key, &event.Value{Kind: event.String, Bytes: []byte(text)})
	}
}

// settle closes the holes, sorts all descendants by opening, and drops state used only for
// building. The tree does not change afterwards.
func (s *Span) settle(libraries map[string]string) {
	kept := s.Spans[:0]
	sorted := true
	for _, inner := range s.Spans {
		if inner == nil {
			continue
		}
		if n := len(kept); n > 0 && kept[n-1].order > inner.order {
			sorted = false
		}
		kept = append(kept, inner)
	}
	clear(s.Spans[len(kept):])
	s.Spans = kept
	if !sorted {
		sort.Slice(kept, func(i, j int) bool { return kept[i].order < kept[j].order })
	}
	s.parent, s.tree = nil, nil
	s.state(event.KeyUnit, s.Unit)
	s.state(event.KeySource, s.Source)
	if s.Origin != "" {
		s.state(event.KeyLibrary, libraries[s.Origin])
	}
	for _, inner := range kept {
		inner.settle(libraries)
	}
}
