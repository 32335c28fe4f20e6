// SPDX-License-Identifier: Apache-2.0

package filter

import (
	"slices"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
)

// Index finds which of several filters an entry passes, by values that the entry must
// have. A rule is in one of the maps, under each of its values, or in others. An Index
// must be used by one goroutine only.
type Index struct {
	executables map[string][]*rule
	units       map[string][]*rule
	names       map[string][]*rule
	keys        map[string][]*rule
	others      []*rule
	all         []*rule
	// Chunks selects the chunks that may have an entry that passes a filter.
	Chunks logstore.Query
}

// rule is a filter of an index, with its place in the list.
type rule struct {
	filter *Filter
	place  int
	// examined is the last examined entry, so that an entry found under several
	// values is examined once.
	examined uint64
}

// maxTerms bounds the terms looked up in the filter of a chunk.
const maxTerms = 512

// NewIndex returns an index of distinct filters.
func NewIndex(filters []*Filter) *Index {
	x := &Index{executables: map[string][]*rule{}, units: map[string][]*rule{}, names: map[string][]*rule{}, keys: map[string][]*rule{}}
	var terms []logstore.Term
	anywhere := false
	for place, f := range filters {
		c := &rule{filter: f, place: place}
		x.all = append(x.all, c)
		switch {
		case f.executables != nil:
			spread(x.executables, f.executables, c)
		case f.units != nil:
			spread(x.units, f.units, c)
		case !f.contexts.empty() && f.contexts.scopes == nil:
			spread(x.names, f.contexts.names, c)
		case !f.keys.empty() && f.keys.scopes == nil:
			spread(x.keys, f.keys.names, c)
		case f.matches != nil && f.implied == nil && !f.attributes:
			for key := range f.matches {
				x.keys[key] = append(x.keys[key], c)
			}
		default:
			x.others = append(x.others, c)
		}
		if len(f.Chunks.Terms) == 0 {
			anywhere = true
		} else {
			terms = append(terms, slices.MinFunc(f.Chunks.Terms, func(a, b []logstore.Term) int { return weight(a) - weight(b) })...)
		}
	}
	if !anywhere && len(terms) <= maxTerms {
		// Without filters there are no terms, and only chunks with notices are
		// opened.
		x.Chunks.Terms = [][]logstore.Term{terms}
	}
	return x
}

// weight is low for terms that are in few chunks.
func weight(terms []logstore.Term) int {
	n := len(terms)
	if n > 0 && terms[0].Kind == logstore.Value {
		return n // most values of a key are in few chunks
	}
	return n + maxTerms
}

func spread(m map[string][]*rule, values map[string]struct{}, c *rule) {
	for v := range values {
		m[v] = append(m[v], c)
	}
}

// Visit calls take with the place of every filter that an entry passes. The
// sequence differs from call to call; boot is as for Filter.Passes.
func (x *Index) Visit(g *event.Group, sequence uint64, boot int64, take func(place int)) {
	if g.IsNotice() {
		for _, c := range x.all {
			take(c.place)
		}
		return
	}
	name := Name(g)
	try := func(rules []*rule) {
		for _, c := range rules {
			if c.examined == sequence {
				continue
			}
			c.examined = sequence
			if c.filter.Passes(g, name, boot) {
				take(c.place)
			}
		}
	}
	if len(x.executables) > 0 {
		try(x.executables[string(g.ContextExecutable())])
	}
	if len(x.units) > 0 && len(g.Unit) > 0 {
		try(x.units[string(g.Unit)])
	}
	if len(x.names) > 0 && len(name) > 0 {
		try(x.names[string(name)])
	}
	if len(x.keys) > 0 {
		for i := range g.Events {
			if g.Events[i].Kind == event.Data {
				try(x.keys[string(g.Events[i].Key)])
			}
		}
	}
	try(x.others)
}
