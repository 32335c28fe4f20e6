// SPDX-License-Identifier: Apache-2.0

package cryptopolicy

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// selector selects back ends by their scopes. The zero selector selects all.
type selector struct {
	text    string // as the policy writes it, empty if it has none
	negated bool
	globs   []string
}

// newSelector parses a selector: a scope, {scope,…}, either after !; scopes may be globs, and case
// is ignored.
func newSelector(text string, scopes []string) (selector, *problem) {
	s := selector{text: text}
	pattern, negated := strings.CutPrefix(strings.ToLower(text), "!")
	s.negated = negated
	if pattern == "*" && !negated {
		return selector{text: text}, nil
	}
	for _, c := range pattern {
		if !unicode.IsLetter(c) && !unicode.IsNumber(c) && !strings.ContainsRune("{,}*_-", c) {
			return s, &problem{fmt.Sprintf("bad character %q in the scope %q", c, text), "write a scope, {scope,scope} or !scope", false}
		}
	}
	inner, opened := strings.CutPrefix(pattern, "{")
	inner, closed := strings.CutSuffix(inner, "}")
	if opened != closed || strings.ContainsAny(inner, "{}") || !opened && strings.Contains(inner, ",") {
		return s, &problem{fmt.Sprintf("bad scopes %q", text), "write several scopes as {scope,scope}", false}
	}
	s.globs = strings.Split(inner, ",")
	for _, g := range s.globs {
		switch {
		case g == "":
			return s, &problem{fmt.Sprintf("an empty scope in %q", text), "remove it, or name a scope", false}
		case len(glob(g, scopes)) > 0:
		case strings.Contains(g, "*"):
			return s, unknown(fmt.Sprintf("no scope matches %q", g), g, scopes)
		default:
			return s, unknown(fmt.Sprintf("unknown scope %q", g), g, scopes)
		}
	}
	return s, nil
}

func (s *selector) matches(scopes []string) bool {
	if s.globs == nil {
		return true
	}
	found := slices.ContainsFunc(s.globs, func(g string) bool { return len(glob(g, scopes)) > 0 })
	return found != s.negated
}
