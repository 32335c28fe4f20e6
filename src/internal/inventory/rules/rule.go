// SPDX-License-Identifier: Apache-2.0

// Package rules has the rules that reports compare uses of cryptography with. Rules are data with
// their sources and dates: the built-in ones in rules.toml, and rules of the administrator, who also
// adds exceptions and the purposes of programs. Whether a use keeps a rule depends only on its facts;
// if a fact was not recorded, the rule is undecidable.
package rules

import (
	"slices"
	"time"

	"github.com/pelletier/go-toml/v2"

	"crypto-auditing/src/internal/inventory/fact"
)

// Axis is the subject of a rule. Each axis has a separate verdict.
type Axis string

// Axes. Inventory is about the inventory itself, and has no verdict.
const (
	KeyEstablishment Axis = "key establishment"
	Authentication   Axis = "authentication"
	Classical        Axis = "classical"
	Inventory        Axis = "inventory"
)

// Axes returns the axes that have verdicts.
func Axes() []Axis { return []Axis{KeyEstablishment, Authentication, Classical} }

// Level is the strictness of a rule.
type Level string

// Levels of rules. A discouraged use is listed, but does not change a verdict.
const (
	Prohibited  Level = "prohibited"
	Deprecated  Level = "deprecated"
	Discouraged Level = "discouraged"
)

// Rule is a rule with its source. Rules do not change after loading.
type Rule struct {
	ID, Text string
	Axis     Axis
	Level    Level
	// AppliesTo are patterns of kinds of operations; When are further conditions.
	AppliesTo []string
	When      Conditions
	// Breaks are alternatives: a use breaks the rule if all conditions of one of them hold.
	Breaks []Conditions
	// Date is the day from which the rule is in force (UTC), zero if it already is.
	Date time.Time
	// Draft reports whether the document is a draft.
	Draft bool
	// Source is the URL of the document. Mark is P if its text was read, S if a secondary source was
	// read, K if the document is known but was not read. Quote is a quotation from it, Retrieved the
	// day on which it was read.
	Source, Mark, Quote string
	Retrieved           time.Time
}

// InForce reports whether the rule is in force on a day, and is final.
func (r *Rule) InForce(now time.Time) bool { return !r.Draft && !now.Before(r.Date) }

// DaysLeft returns the number of days, rounded up, until the rule is in force; 0 if it is in force, or
// has no date.
func (r *Rule) DaysLeft(now time.Time) int {
	left := r.Date.Sub(now)
	if left <= 0 {
		return 0
	}
	const day = 24 * time.Hour
	return int((left + day - 1) / day)
}

// Counts reports whether breaking the rule counts for the verdict of its axis.
func (r *Rule) Counts() bool { return r.Level != Discouraged }

// Profile picks rules.
type Profile struct {
	Name, Text string
	// Rules are patterns of their ids.
	Rules []string
}

// Exception is a use that the administrator has accepted for some time.
type Exception struct {
	// Rule, Executable and Unit are patterns; empty ones match everything.
	Rule, Executable, Unit string
	AcceptedBy, Why        string
	// Until is the last day (UTC).
	Until time.Time
}

// Expired reports whether the exception is no longer in force.
func (e *Exception) Expired(now time.Time) bool { return !now.Before(e.Until.AddDate(0, 0, 1)) }

// covers reports whether the exception applies to uses of a program under a rule.
func (e *Exception) covers(rule, executable, unit string) bool {
	return matches(e.Rule, rule) && matches(e.Executable, executable) && matches(e.Unit, unit)
}

// Purpose states the purpose of a program.
type Purpose struct {
	// Executable and Unit are patterns; empty ones match everything.
	Executable, Unit string
	Text             string
}

// matches reports whether a text matches a pattern; the empty pattern matches everything.
func matches(pattern, text string) bool { return pattern == "" || wildcard(pattern, text) }

// Set is a set of rules, with the administrator's statements about programs. It does not change after
// loading and is safe for concurrent use.
type Set struct {
	Rules      []*Rule // in the order of files
	Profiles   []Profile
	Exceptions []Exception
	Purposes   []Purpose
}

// DefaultProfiles returns the profiles of a report unless others are given.
func DefaultProfiles() []string { return []string{"ietf", "nist"} }

// AllProfiles is the name that picks all rules.
const AllProfiles = "all"

// UnknownProfileError is a profile that does not exist.
type UnknownProfileError struct {
	Name  string
	Known []string
}

func (e *UnknownProfileError) Error() string {
	return "unknown profile \"" + e.Name + "\": there are " + join(e.Known)
}

// Pick returns the set with only the rules of profiles. The error is an *UnknownProfileError.
func (s *Set) Pick(profiles ...string) (*Set, error) {
	picked := *s
	picked.Rules = nil
	var patterns []string
	for _, name := range profiles {
		i := slices.IndexFunc(s.Profiles, func(p Profile) bool { return p.Name == name })
		switch {
		case name == AllProfiles:
			patterns = append(patterns, "*")
		case i < 0:
			return nil, &UnknownProfileError{name, append(s.names(), AllProfiles)}
		default:
			patterns = append(patterns, s.Profiles[i].Rules...)
		}
	}
	for _, r := range s.Rules {
		if slices.ContainsFunc(patterns, func(pattern string) bool { return matches(pattern, r.ID) }) {
			picked.Rules = append(picked.Rules, r)
		}
	}
	return &picked, nil
}

func (s *Set) names() []string {
	names := make([]string, len(s.Profiles))
	for i := range s.Profiles {
		names[i] = s.Profiles[i].Name
	}
	return names
}

// Purpose returns the purpose of a program, empty if it is not stated.
func (s *Set) Purpose(executable, unit string) string {
	for i := range s.Purposes {
		if p := &s.Purposes[i]; matches(p.Executable, executable) && matches(p.Unit, unit) {
			return p.Text
		}
	}
	return ""
}

// Exception returns the exception that is in force for uses of a program under a rule, nil if there is
// none.
func (s *Set) Exception(rule, executable, unit string, now time.Time) *Exception {
	for i := range s.Exceptions {
		if e := &s.Exceptions[i]; !e.Expired(now) && e.covers(rule, executable, unit) {
			return e
		}
	}
	return nil
}

// day returns the beginning of a day in UTC.
func day(d toml.LocalDate) time.Time {
	if d == (toml.LocalDate{}) {
		return time.Time{}
	}
	return d.AsTime(time.UTC)
}

// attributes are the attributes that conditions may use.
func attributes() map[fact.Attribute]bool {
	known := make(map[fact.Attribute]bool)
	for _, a := range fact.Attributes() {
		known[a] = true
	}
	return known
}

// Marks returns the marks of rules: how the source of a rule was checked.
func Marks() []string { return []string{"P", "S", "K"} }

// MarkText explains a mark; it is empty for no mark.
func MarkText(mark string) string {
	switch mark {
	case "P":
		return "the text of the document was read"
	case "S":
		return "not read itself, but another text about it"
	case "K":
		return "known, but not read"
	}
	return ""
}
