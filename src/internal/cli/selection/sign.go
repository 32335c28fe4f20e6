// SPDX-License-Identifier: Apache-2.0

package selection

import (
	"slices"
	"strings"

	"crypto-auditing/src/client"
	"crypto-auditing/src/internal/entry"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/schema"
)

// Sign is a property that some group of every selected operation has. If such groups can
// be found without reading the whole log, only the parts around them need be read.
type Sign struct {
	// Has reports whether a group has the sign.
	Has func(g *event.Group) bool
	// Chunks selects the chunks that may contain such a group, and chunks with notices.
	// Filter selects such groups, for the broker.
	Chunks logstore.Query
	Filter client.Filter
}

// Sign returns the sign that is probably the rarest, nil if there is none. onBus reports
// whether the broker searches for it; forced is as for Chunks.
func (s *Selection) Sign(onBus, forced bool) *Sign {
	for _, find := range []func() *Sign{
		func() *Sign { return s.matchSign(onBus, true) }, s.unitSign,
		func() *Sign { return s.contextSign(onBus) },
		func() *Sign { return s.matchSign(onBus, false) }, s.sourceSign,
	} {
		sign := find()
		if sign == nil {
			continue
		}
		chunks, filter := s.Chunks(forced), s.Filter(forced)
		sign.Chunks.Terms = append(sign.Chunks.Terms, chunks.Terms...)
		sign.Chunks.Until = chunks.Until
		sign.Filter.Executables, sign.Filter.Until = filter.Executables, filter.Until
		return sign
	}
	return nil
}

// maxAlternatives bounds the number of values to search for.
const maxAlternatives = 100

// matchSign returns the sign of the first match with terms, of its value if valued is
// set.
func (s *Selection) matchSign(onBus, valued bool) *Sign {
	if onBus && s.ownRegistry {
		return nil // the broker has another registry
	}
	for _, oneOf := range s.matches {
		if slices.ContainsFunc(oneOf, func(m match) bool { return m.derived != nil }) {
			continue // the value may be derived from any group
		}
		var all []schema.Match
		sign := &Sign{}
		for i := range oneOf {
			_, value, _ := strings.Cut(oneOf[i].argument, "=")
			for _, m := range oneOf[i].oneOf {
				all = append(all, m)
				sign.Filter.Matches = append(sign.Filter.Matches, m.Key+"="+value)
			}
		}
		terms, ok := s.matchTerms(all, valued)
		if !ok || len(all) > maxAlternatives {
			continue
		}
		sign.Chunks.Terms = terms
		sign.Has = func(g *event.Group) bool { return s.matchesAny(all, g) }
		return sign
	}
	return nil
}

// matchTerms returns the terms of alternative matches. ok is false if groups without any
// of the terms may fulfil them.
func (s *Selection) matchTerms(all []schema.Match, valued bool) (sets [][]logstore.Term, ok bool) {
	var keys, values, implied []logstore.Term
	for i := range all {
		m := &all[i]
		if m.Key == event.KeyUnit || m.Key == event.KeySource || m.Key == event.KeyName {
			return nil, false
		}
		if list, ok := m.Values(); ok {
			terms, ok := entry.ValueTerms(m.Key, list)
			valued = valued && ok
			values = append(values, terms...)
		} else {
			valued = false
		}
		keys = append(keys, logstore.NewTerm(logstore.Key, m.Key))
		for _, name := range s.registry.Contexts() {
			if _, ok := s.registry.Context(name).Implied[m.Key]; ok && s.implies(name, m) {
				implied = append(implied, logstore.NewTerm(logstore.Name, name))
			}
		}
	}
	if valued {
		sets = append(sets, slices.Concat(values, implied))
	}
	// For chunks without value terms.
	return append(sets, slices.Concat(keys, implied)), true
}

// implies reports whether the name of a context fulfils a match.
func (s *Selection) implies(name string, m *schema.Match) bool {
	return m.In(s.registry, &schema.Span{Name: name})
}

// matchesAny reports whether a group has one of the matches.
func (s *Selection) matchesAny(all []schema.Match, g *event.Group) bool {
	name := contextName(g)
	for i := range all {
		m := &all[i]
		for j := range g.Events {
			if e := &g.Events[j]; e.Kind == event.Data && string(e.Key) == m.Key && m.Matches(&e.Value) {
				return true
			}
		}
		if c := s.registry.Context(string(name)); c != nil && c.Implied[m.Key] != "" && s.implies(c.Name, m) {
			return true
		}
	}
	return false
}

// contextName returns the name of the context of a group.
func contextName(g *event.Group) []byte {
	if len(g.Name) > 0 {
		return g.Name
	}
	for i := range g.Events {
		if e := &g.Events[i]; e.Kind == event.Data && string(e.Key) == event.KeyName && e.Value.Kind == event.String {
			return e.Value.Bytes
		}
	}
	return nil
}

// unitSign returns the sign of --unit, nil if it has patterns or too many names.
func (s *Selection) unitSign() *Sign {
	if s.units.Any() || s.units.patterns != nil || len(s.units.names) > maxAlternatives {
		return nil
	}
	sign := &Sign{Has: func(g *event.Group) bool { return len(g.Unit) > 0 && s.units.Have(string(g.Unit)) }}
	var terms []logstore.Term
	for _, name := range s.units.names {
		// The name may be the escaped form of another.
		for _, unit := range slices.Compact([]string{name, event.Unescape(name)}) {
			terms = append(terms, logstore.NewTerm(logstore.Unit, unit))
			sign.Filter.Units = append(sign.Filter.Units, unit)
		}
	}
	sign.Chunks.Terms = [][]logstore.Term{terms}
	return sign
}

// sourceSign returns the sign of --source, nil for USDT, which has none.
func (s *Selection) sourceSign() *Sign {
	if s.sources == nil || slices.Contains(s.sources, event.USDT) {
		return nil
	}
	sign := &Sign{Has: func(g *event.Group) bool { return slices.Contains(s.sources, event.Source(g.Source)) }}
	var terms []logstore.Term
	for _, source := range s.sources {
		terms = append(terms, logstore.NewTerm(logstore.Source, string(source)))
		sign.Filter.Sources = append(sign.Filter.Sources, string(source))
	}
	sign.Chunks.Terms = [][]logstore.Term{terms}
	return sign
}

// contextSign returns the sign of --context, nil if it selects a whole scope.
func (s *Selection) contextSign(onBus bool) *Sign {
	if s.contexts == nil || onBus && s.ownRegistry || len(s.contextNames) > maxAlternatives {
		return nil
	}
	sign := &Sign{Has: func(g *event.Group) bool {
		name := string(contextName(g))
		return slices.ContainsFunc(s.contexts, func(p schema.ContextPattern) bool { return p.Matches(s.registry, name) })
	}}
	var terms []logstore.Term
	for i, name := range s.contextNames {
		if strings.HasSuffix(name, "::*") {
			return nil
		}
		terms = append(terms, logstore.NewTerm(logstore.Name, name))
		sign.Filter.Contexts = append(sign.Filter.Contexts, name)
		for _, known := range s.registry.Contexts() {
			if known != name && s.contexts[i].Matches(s.registry, known) {
				terms = append(terms, logstore.NewTerm(logstore.Name, known))
			}
		}
	}
	sign.Chunks.Terms = [][]logstore.Term{terms}
	return sign
}
