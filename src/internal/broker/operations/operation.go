// SPDX-License-Identifier: Apache-2.0

// Package operations reads the log as operations: trees of contexts with the names of their
// values, for clients that have neither a builder of trees nor a registry.
package operations

import (
	"encoding/hex"
	"slices"
	"strings"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/schema"
	"crypto-auditing/src/internal/schema/outcome"
)

// MaxDepth is the maximum number of levels of contexts inside an operation. Deeper contexts are put
// into the last level.
const MaxDepth = 8

// Operation is an operation, or a context inside one. Text is valid UTF-8 without NUL, with other
// bytes written as \xNN. An operation is valid until the function that receives it returns.
type Operation struct {
	// Cursor is the position just after its last entry, empty in a context inside.
	Cursor string
	// Sequence is the number of its last entry, 0 in a context inside.
	Sequence uint64
	// Context is its id.
	Context event.ContextID
	// Name, Executable, Unit, Library, Origin (hex digits) and Source are empty if unknown.
	Name, Executable, Unit, Library, Origin, Source string
	// Start and End are the times of the first and the last event, in µs since the Unix epoch.
	Start, End uint64
	// Summary has the results of the operation, by keys without their scope.
	Summary []Text
	// Data has the last value of each key, but not the name; Names are the registered names of numbers among them.
	Data  []schema.Datum
	Names []Text
	// Children are the contexts inside, in the order of their opening.
	Children []Operation
	// Orphan reports that its beginning is not in the log.
	Orphan bool
	// Truncated reports that the tree was changed because it was too deep or too large.
	Truncated bool
}

// Text is a text by a key.
type Text struct{ Key, Text string }

// converter converts trees to operations. It reuses its memory: an operation is valid until the
// next one is made. It must be used by one goroutine only.
type converter struct {
	registry *schema.Registry
	// library names libraries by their build-ids.
	library func(id string) string

	data  []schema.Datum
	texts []Text
	parts []Operation
	// origin is the last build-id, hex its hex digits. named is the name of that library if
	// lookedUp is set: it is looked up once per operation, because the log may name the library later.
	origin, hex, named string
	lookedUp           bool
}

// convert converts a complete tree of a log.
func (c *converter) convert(root *schema.Span, store [16]byte) *Operation {
	const kept = 1 << 12
	if cap(c.data) > kept || cap(c.texts) > kept || cap(c.parts) > kept {
		c.data, c.texts, c.parts = nil, nil, nil
	}
	c.data, c.texts, c.parts = c.data[:0], c.texts[:0], c.parts[:0]
	c.lookedUp = false
	o := &c.room(1)[:1][0]
	*o = c.part(root)
	o.Truncated = root.Cut
	o.Sequence = root.Completed
	o.Cursor = logstore.Cursor{Store: store, Sequence: root.Completed}.String()
	if context := c.registry.Context(root.Name); context != nil {
		begin := len(c.texts)
		for _, key := range context.Summary {
			if text := c.result(root, key); text != "" {
				c.texts = append(c.texts, Text{short(key), text})
			}
		}
		o.Summary = c.texts[begin:len(c.texts):len(c.texts)]
	}
	c.inside(o, root, 1, &o.Truncated)
	return o
}

// room returns an empty slice with room for n operations.
func (c *converter) room(n int) []Operation {
	begin := len(c.parts)
	c.parts = slices.Grow(c.parts, n)[:begin+n]
	return c.parts[begin : begin : begin+n]
}

// inside adds the contexts inside a span. truncated is set if the tree was changed.
func (c *converter) inside(o *Operation, s *schema.Span, level int, truncated *bool) {
	if o.Children == nil && len(s.Spans) > 0 {
		o.Children = c.room(len(s.Spans))
	}
	for _, inner := range s.Spans {
		o.Children = append(o.Children, c.part(inner))
		if level < MaxDepth {
			c.inside(&o.Children[len(o.Children)-1], inner, level+1, truncated)
			continue
		}
		if len(inner.Spans) > 0 {
			*truncated = true
			c.inside(o, inner, level, truncated)
		}
	}
}

// part converts a span without the contexts inside.
func (c *converter) part(s *schema.Span) Operation {
	if s.Origin != c.origin {
		c.origin, c.hex = s.Origin, hex.EncodeToString([]byte(s.Origin))
		c.lookedUp = false
	}
	o := Operation{
		Context: s.Context, Name: event.Escaped(s.Name), Executable: event.Escaped(s.Executable), Unit: event.Escaped(s.Unit),
		Origin: c.hex, Source: event.Escaped(s.Source),
		Start: event.Microseconds(s.Start), End: event.Microseconds(max(s.Last, s.Start)), Orphan: s.Headless,
	}
	data, names := len(c.data), len(c.texts)
	for i := range s.Data {
		d := &s.Data[i]
		if d.Key == event.KeyLibrary {
			o.Library = event.Escaped(string(d.Value.Bytes))
		}
		if schema.Scope(d.Key) == event.Scope {
			continue // was not probed
		}
		if d.Key == schema.KeyName && string(d.Value.Bytes) == s.Name {
			continue
		}
		key := event.Escaped(d.Key)
		c.data = append(c.data, schema.Datum{Key: key, Value: d.Value})
		if d.Value.Kind == event.Word {
			if name, ok := c.registry.Key(d.Key).Text(d.Value.Word); ok {
				c.texts = append(c.texts, Text{key, name})
			}
		}
	}
	o.Data, o.Names = c.data[data:len(c.data):len(c.data)], c.texts[names:len(c.texts):len(c.texts)]
	if o.Library == "" && s.Origin != "" {
		if !c.lookedUp {
			c.named, c.lookedUp = event.Escaped(c.library(s.Origin)), true
		}
		o.Library = c.named
	}
	return o
}

// result returns the text of the result that a tree has for a key, empty if there is none.
func (c *converter) result(root *schema.Span, key string) string {
	v, span, implied := outcome.Result(c.registry, root, key)
	switch {
	case span == nil:
		return implied
	case v.Kind == event.Word:
		return outcome.Text(c.registry.Key(key), v.Word)
	}
	return event.Escaped(string(v.Bytes))
}

// short returns a key without its scope.
func short(key string) string { return strings.TrimPrefix(key, schema.Scope(key)+"::") }
