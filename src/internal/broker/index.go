// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"maps"
	"slices"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
)

// class is a filter with all attached subscriptions that have it: it is
// decided but once for all of them who gets what.
type class struct {
	filter *filter
	// since is the position from which on the tail knows the class. It is
	// guarded by live.mu, as is members; joined says that since is set.
	since   uint64
	joined  bool
	members map[*Subscription]struct{}
	// seen is the last entry that was decided, so that one with several
	// reasons to be looked at is looked at once. It is the tail's.
	seen uint64
}

// index finds the classes that an entry may concern, by what must be in it. It
// belongs to the tail. A class stands in one of the maps, under all of the
// values that it could be there for, or in others.
type index struct {
	executables map[string][]*class
	names       map[string][]*class
	keys        map[string][]*class
	others      []*class
	all         []*class
	// chunks is what every chunk has that some class can want.
	chunks logstore.Query
}

// maxTerms bounds what is asked of the filter of a chunk.
const maxTerms = 512

func newIndex(classes map[string]*class) *index {
	x := &index{executables: map[string][]*class{}, names: map[string][]*class{}, keys: map[string][]*class{}}
	var terms []logstore.Term
	anywhere := false
	for _, c := range slices.SortedFunc(maps.Values(classes), func(a, b *class) int {
		if a.filter.key < b.filter.key {
			return -1
		}
		return 1
	}) {
		x.all = append(x.all, c)
		f := c.filter
		switch {
		case f.executables != nil:
			spread(x.executables, f.executables, c)
		case !f.contexts.empty() && f.contexts.scopes == nil:
			spread(x.names, f.contexts.names, c)
		case !f.keys.empty() && f.keys.scopes == nil:
			spread(x.keys, f.keys.names, c)
		case f.matches != nil && f.implied == nil:
			for key := range f.matches {
				x.keys[key] = append(x.keys[key], c)
			}
		default:
			x.others = append(x.others, c)
		}
		if len(f.chunks.Terms) == 0 {
			anywhere = true
		} else {
			terms = append(terms, slices.MinFunc(f.chunks.Terms, func(a, b []logstore.Term) int { return len(a) - len(b) })...)
		}
	}
	if !anywhere && len(terms) <= maxTerms {
		// Without a class no term is left, and no chunk is opened but those
		// with notices.
		x.chunks.Terms = [][]logstore.Term{terms}
	}
	return x
}

func spread(m map[string][]*class, values map[string]struct{}, c *class) {
	for v := range values {
		m[v] = append(m[v], c)
	}
}

// visit calls take for every class that an entry passes.
func (x *index) visit(e *Entry, take func(*class)) {
	g := e.Group
	if g.IsNotice() {
		for _, c := range x.all {
			take(c)
		}
		return
	}
	name := nameOf(g)
	try := func(classes []*class) {
		for _, c := range classes {
			if c.seen == e.Sequence {
				continue
			}
			c.seen = e.Sequence
			if c.filter.passes(g, name, e.Boot) {
				take(c)
			}
		}
	}
	if len(x.executables) > 0 {
		try(x.executables[string(executableOf(g))])
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
