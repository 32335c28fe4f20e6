// SPDX-License-Identifier: Apache-2.0

// Package operations reads the log as operations: trees of contexts with the names of their
// values, for clients that have neither a builder of trees nor a registry.
package operations

import (
	"encoding/hex"
	"strings"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/schema"
	"crypto-auditing/src/internal/schema/outcome"
)

// MaxDepth is how many levels of contexts are inside an operation. What is deeper stands in the
// last of them.
const MaxDepth = 8

// Operation is an operation, or a context inside one. Text is valid UTF-8 without NUL, with other
// bytes written as \xNN.
type Operation struct {
	// Cursor is the position just after its last entry, empty in a context inside.
	Cursor string
	// Sequence is the number of its last entry, 0 in a context inside.
	Sequence uint64
	// Context is the id of the context in 32 hex digits.
	Context string
	// Name, Executable, Unit, Library, Origin (hex digits) and Source are empty if unknown.
	Name, Executable, Unit, Library, Origin, Source string
	// Start and End are the times of the first and the last event, in µs since the Unix epoch.
	Start, End uint64
	// Summary has what the operation resulted in, by keys without their scope.
	Summary []Text
	// Data has the last value of each key, Names the registered names of numbers among them.
	Data  []schema.Datum
	Names []Text
	// Children are the contexts inside, in the order of their opening.
	Children []Operation
	// Orphan reports that its beginning is not in the log.
	Orphan bool
	// Truncated reports that the tree is not as it was: too deep or too large.
	Truncated bool
}

// Text is a text by a key.
type Text struct{ Key, Text string }

// convert makes an operation of a tree. library names libraries by their build-ids.
func convert(r *schema.Registry, root *schema.Span, library func(id string) string) Operation {
	o := part(r, root, library)
	o.Truncated = root.Cut
	if context := r.Context(root.Name); context != nil {
		for _, key := range context.Summary {
			if text := result(r, root, key); text != "" {
				o.Summary = append(o.Summary, Text{short(key), text})
			}
		}
	}
	o.children(r, root, library, 1, &o.Truncated)
	return o
}

// children adds the contexts inside a span. truncated is set if they do not stand as they were.
func (o *Operation) children(r *schema.Registry, s *schema.Span, library func(id string) string, level int, truncated *bool) {
	for _, inner := range s.Spans {
		child := part(r, inner, library)
		if level < MaxDepth {
			child.children(r, inner, library, level+1, truncated)
			o.Children = append(o.Children, child)
			continue
		}
		o.Children = append(o.Children, child)
		if len(inner.Spans) > 0 {
			*truncated = true
			o.children(r, inner, library, level, truncated)
		}
	}
}

// part makes an operation of a span, without what is inside.
func part(r *schema.Registry, s *schema.Span, library func(id string) string) Operation {
	o := Operation{
		Context: s.Context.String(), Name: event.Escaped(s.Name), Executable: event.Escaped(s.Executable), Unit: event.Escaped(s.Unit),
		Origin: hex.EncodeToString([]byte(s.Origin)), Source: event.Escaped(s.Source),
		Start: event.Microseconds(s.Start), End: event.Microseconds(max(s.Last, s.Start)), Orphan: s.Headless,
		Data: make([]schema.Datum, 0, len(s.Data)),
	}
	for i := range s.Data {
		d := &s.Data[i]
		if d.Key == event.KeyLibrary {
			o.Library = event.Escaped(string(d.Value.Bytes))
		}
		if schema.Scope(d.Key) == event.Scope {
			continue // was not probed
		}
		o.Data = append(o.Data, schema.Datum{Key: event.Escaped(d.Key), Value: d.Value})
		if d.Value.Kind == event.Word {
			if name, ok := r.Key(d.Key).Text(d.Value.Word); ok {
				o.Names = append(o.Names, Text{event.Escaped(d.Key), name})
			}
		}
	}
	if o.Library == "" && s.Origin != "" {
		o.Library = event.Escaped(library(s.Origin))
	}
	return o
}

// result returns the text of the result that a tree has for a key, empty if there is none.
func result(r *schema.Registry, root *schema.Span, key string) string {
	v, of, implied := outcome.Result(r, root, key)
	switch {
	case of == nil:
		return implied
	case v.Kind == event.Word:
		return outcome.Text(r.Key(key), v.Word)
	}
	return event.Escaped(string(v.Bytes))
}

// short returns a key without its scope.
func short(key string) string { return strings.TrimPrefix(key, schema.Scope(key)+"::") }
