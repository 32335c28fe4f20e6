// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"crypto-auditing/src/internal/inventory/fact"
)

// Outcome is the result of a rule for a use.
type Outcome int

// Outcomes. NotApplicable: the rule does not apply to the use. Undecidable: a value that the rule needs was
// not recorded.
const (
	NotApplicable Outcome = iota
	Keeps
	Breaks
	Undecidable
)

// String returns the name of an outcome.
func (o Outcome) String() string {
	switch o {
	case Keeps:
		return "keeps"
	case Breaks:
		return "breaks"
	case Undecidable:
		return "undecidable"
	}
	return "not applicable"
}

// Evaluate returns the outcome for a use with a kind of operation and facts.
func (r *Rule) Evaluate(operation string, facts fact.Facts) Outcome {
	if !slices.ContainsFunc(r.AppliesTo, func(pattern string) bool { return wildcard(pattern, operation) }) {
		return NotApplicable
	}
	applies := r.When.holds(facts)
	if applies == no {
		return NotApplicable
	}
	broken := no
	for _, c := range r.Breaks {
		broken = max(broken, c.holds(facts))
	}
	switch {
	case broken == no:
		return Keeps
	case broken == yes && applies == yes:
		return Breaks
	}
	return Undecidable
}

// truth has three values in the order in which alternatives are joined: yes wins, then unknown.
type truth int

const (
	no truth = iota
	unknown
	yes
)

// Conditions are conditions that all must hold.
type Conditions []Condition

// Condition is about the values of an attribute.
type Condition struct {
	Attribute fact.Attribute
	// Patterns are alternatives; those with a leading ! must not match.
	Patterns []string
}

// holds joins conditions: no wins, then unknown.
func (c Conditions) holds(facts fact.Facts) truth {
	result := yes
	for i := range c {
		result = min(result, c[i].holds(facts))
	}
	return result
}

func (c *Condition) holds(facts fact.Facts) truth {
	f, ok := facts[c.Attribute]
	if !ok {
		return no // such a use cannot have the attribute
	}
	for _, value := range f.Values {
		if c.accepts(value) {
			return yes
		}
	}
	if f.Complete {
		return no
	}
	return unknown
}

// accepts reports whether a value matches a pattern, and no pattern with a leading !.
func (c *Condition) accepts(value string) bool {
	accepted, positive := false, false
	for _, pattern := range c.Patterns {
		if not, ok := strings.CutPrefix(pattern, "!"); ok {
			if matchesValue(not, value) {
				return false
			}
			continue
		}
		positive = true
		accepted = accepted || matchesValue(pattern, value)
	}
	return accepted || !positive
}

func matchesValue(pattern, value string) bool {
	if limit, less, ok := comparison(pattern); ok {
		n, err := strconv.Atoi(value)
		return err == nil && (less && n < limit || !less && n > limit)
	}
	return wildcard(pattern, value)
}

// comparison reads the patterns <NUMBER and >NUMBER.
func comparison(pattern string) (limit int, less, ok bool) {
	if !strings.HasPrefix(pattern, "<") && !strings.HasPrefix(pattern, ">") {
		return 0, false, false
	}
	limit, err := strconv.Atoi(pattern[1:])
	return limit, pattern[0] == '<', err == nil
}

// wildcard reports whether a text matches a pattern in which * matches any characters.
func wildcard(pattern, text string) bool {
	first, rest, found := strings.Cut(pattern, "*")
	if !found {
		return pattern == text
	}
	text, ok := strings.CutPrefix(text, first)
	if !ok {
		return false
	}
	for {
		part, more, found := strings.Cut(rest, "*")
		if !found {
			return strings.HasSuffix(text, part)
		}
		at := strings.Index(text, part)
		if at < 0 {
			return false
		}
		text, rest = text[at+len(part):], more
	}
}

// check returns an error if a pattern is invalid.
func (c *Condition) check() error {
	for _, pattern := range c.Patterns {
		pattern = strings.TrimPrefix(pattern, "!")
		if pattern == "" {
			return fmt.Errorf("condition %q has an empty pattern", c.Attribute)
		}
		if _, _, ok := comparison(pattern); !ok && strings.ContainsAny(pattern[:1], "<>") {
			return fmt.Errorf("condition %q: %q is not a comparison with a number", c.Attribute, pattern)
		}
	}
	return nil
}
