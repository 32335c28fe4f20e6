// SPDX-License-Identifier: Apache-2.0

package schema

// WalkResults calls visit for the spans of a tree in which a value of key is a result, parents
// first, until visit returns false. It reports whether visit never did. It skips spans in
// which, according to the registry, a value of key is only an offer: a TLS 1.3 client starts a
// key exchange for each group that it offers.
func (r *Registry) WalkResults(root *Span, key string, visit func(*Span) bool) bool {
	return r.walkResults(root, nil, key, visit)
}

// walkResults does this for s, whose ancestors are around, outermost first.
func (r *Registry) walkResults(s *Span, around []*Span, key string, visit func(*Span) bool) bool {
	if !r.offers(s, around, key) && !visit(s) {
		return false
	}
	around = append(around, s)
	for _, inner := range s.Spans {
		if !r.walkResults(inner, around, key, visit) {
			return false
		}
	}
	return true
}

// contextOf returns the definition of the name of a span, nil if there is none. A builder has looked
// it up.
func (r *Registry) contextOf(s *Span) *Context {
	if s.context != nil {
		return s.context
	}
	return r.Context(s.Name)
}

// offers reports whether a value of key in s is only an offer. It is one if no descendant of s
// settles it and either the descendants show that the library reports such steps, or no
// ancestor shows that the two sides have agreed.
func (r *Registry) offers(s *Span, around []*Span, key string) bool {
	c := r.contextOf(s)
	if c == nil || len(c.settledBy) == 0 || !c.Has(key) {
		return false
	}
	steps := false
	settled := !s.Walk(func(inner *Span) bool {
		step := r.contextOf(inner)
		if inner == s || step == nil {
			return true
		}
		steps = true
		return !c.settledBy[step.Kind]
	})
	if settled || steps {
		return !settled
	}
	for _, outer := range around {
		for sign := range c.settledWith {
			if _, ok := outer.Value(sign); ok {
				return false
			}
		}
	}
	return true
}
