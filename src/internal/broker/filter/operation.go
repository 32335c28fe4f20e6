// SPDX-License-Identifier: Apache-2.0

package filter

import (
	"slices"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/schema"
)

// PassesOperation reports whether an operation passes: for each field of the Spec, some part
// of its tree has one of the values. Of data, only results count. The time is that of its first
// group.
func (f *Filter) PassesOperation(r *schema.Registry, root *schema.Span) bool {
	if f.Everything {
		return true
	}
	if root.Start < f.since || root.End > f.until {
		return false
	}
	for _, condition := range []struct {
		given bool
		holds func(*schema.Span) bool
	}{
		{f.executables != nil, func(s *schema.Span) bool { return has(f.executables, s.Executable) }},
		{f.origins != nil, func(s *schema.Span) bool { return has(f.origins, s.Origin) }},
		{f.units != nil, func(s *schema.Span) bool { return has(f.units, s.Unit) }},
		{f.sources != nil, func(s *schema.Span) bool {
			return slices.ContainsFunc(event.Sources(), func(source event.Source) bool {
				return has(f.sources, string(source)) && s.CapturedBy(source)
			})
		}},
		{!f.contexts.empty(), func(s *schema.Span) bool { return s.Name != "" && f.contexts.has([]byte(s.Name)) }},
		{f.scopes != nil, func(s *schema.Span) bool {
			return has(f.scopes, schema.Scope(s.Name)) || slices.ContainsFunc(s.Data, func(d schema.Datum) bool { return has(f.scopes, schema.Scope(d.Key)) })
		}},
		{!f.keys.empty(), func(s *schema.Span) bool {
			return slices.ContainsFunc(s.Data, func(d schema.Datum) bool { return f.keys.has([]byte(d.Key)) })
		}},
	} {
		if condition.given && root.Walk(func(s *schema.Span) bool { return !condition.holds(s) }) {
			return false
		}
	}
	return f.matches == nil || f.matchesOperation(r, root)
}

// matchesOperation reports whether a result in the tree fulfils one of the matches.
func (f *Filter) matchesOperation(r *schema.Registry, root *schema.Span) bool {
	for key, matches := range f.matches {
		if !r.WalkResults(root, key, func(s *schema.Span) bool {
			return !slices.ContainsFunc(matches, func(m schema.Match) bool { return m.In(r, s) })
		}) {
			return true
		}
	}
	return false
}

func has(set map[string]struct{}, value string) bool {
	_, ok := set[value]
	return ok
}
