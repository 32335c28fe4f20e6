// SPDX-License-Identifier: Apache-2.0

// Package exclude decides which programs are not recorded: by rules about the unit,
// the executable or the user. What is excluded is counted by rule. The package is
// pure, except that names of users are looked up when rules are parsed.
package exclude

import (
	"fmt"
	"os/user"
	"path"
	"strconv"
	"strings"
	"sync/atomic"
)

// What a rule is about.
const (
	unit       = "unit"
	executable = "executable"
	userKey    = "user"
)

// Program is what is known of a program.
type Program struct {
	// Executable is the base name of its file.
	Executable string
	// Owned: User and Units are known, else only the executable is.
	Owned bool
	// User is the real user id.
	User uint32
	// Unit is the nearest service or scope; empty: none. ShortUnit is its name
	// without ids, as the log has it.
	Unit, ShortUnit string
}

// Rule excludes programs. Its counters may be changed by any goroutine.
type Rule struct {
	text    string
	about   string
	pattern string
	user    uint32
	// Handshakes were seen at sockets, Hits are of probes.
	Handshakes, Hits atomic.Uint64
}

// String returns the rule as it was written.
func (r *Rule) String() string { return r.text }

// Parse parses rules of the forms unit=GLOB, executable=GLOB and user=NAME, where the
// name may be a number. Globs are those of path.Match; in units a backslash is an
// ordinary character, since names of units have it. The error names the rule and
// the remedy.
func Parse(texts []string) ([]*Rule, error) {
	var rules []*Rule
	for _, text := range texts {
		r := &Rule{text: text}
		r.about, r.pattern, _ = strings.Cut(text, "=")
		switch r.about {
		case unit:
			// As with systemctl, a name without a suffix is that of a service.
			if r.pattern != "" && !strings.Contains(r.pattern, ".") && !strings.HasSuffix(r.pattern, "*") {
				r.pattern += ".service"
			}
			r.pattern = strings.ReplaceAll(r.pattern, `\`, `\\`)
		case executable:
			if strings.Contains(r.pattern, "/") {
				return nil, fmt.Errorf("%q has a path: write the base name of the file", text)
			}
		case userKey:
			var err error
			if r.user, err = userID(r.pattern); err != nil {
				return nil, fmt.Errorf("%q %w", text, err)
			}
		default:
			return nil, fmt.Errorf(`%q is not an exclusion: write "unit=GLOB", "executable=GLOB" or "user=NAME"`, text)
		}
		if _, err := path.Match(r.pattern, ""); r.about != userKey && (err != nil || r.pattern == "") {
			return nil, fmt.Errorf("%q has no valid pattern: use a name, in which * stands for any characters", text)
		}
		rules = append(rules, r)
	}
	return rules, nil
}

// userID returns the id of a user, given as a name or a number.
func userID(name string) (uint32, error) {
	if id, err := strconv.ParseUint(name, 10, 32); err == nil {
		return uint32(id), nil
	}
	u, err := user.Lookup(name)
	if err != nil || name == "" {
		return 0, fmt.Errorf(`names no user of this machine: write the number of one, as in "user=1000"`)
	}
	id, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("names a user with the id %q: write a number", u.Uid)
	}
	return uint32(id), nil
}

// matches reports whether a rule is about a program.
func (r *Rule) matches(p *Program) bool {
	switch {
	case r.about == executable:
		return matches(r.pattern, p.Executable)
	case !p.Owned:
		return false
	case r.about == userKey:
		return r.user == p.User
	}
	return p.Unit != "" && (matches(r.pattern, p.Unit) || matches(r.pattern, p.ShortUnit))
}

// matches reports whether a pattern, which was checked, matches a name.
func matches(pattern, name string) bool {
	ok, _ := path.Match(pattern, name)
	return ok
}

// List is rules, the first of which that matches counts.
type List []*Rule

// Match returns the first rule that excludes a program; nil: none does.
func (l List) Match(p *Program) *Rule {
	for _, r := range l {
		if r.matches(p) {
			return r
		}
	}
	return nil
}

// NeedsOwner reports whether a rule is about units or users.
func (l List) NeedsOwner() bool {
	for _, r := range l {
		if r.about != executable {
			return true
		}
	}
	return false
}

// Set is the rules in effect. Its methods may be called by any goroutine.
type Set struct {
	rules atomic.Pointer[List]
	// handshakes and hits were excluded by all rules, former ones included.
	handshakes, hits atomic.Uint64
}

// Replace puts rules in effect. Those that stay the same keep their counts.
func (s *Set) Replace(rules []*Rule) {
	before := map[string]*Rule{}
	for _, r := range s.Rules() {
		before[r.text] = r
	}
	list := make(List, len(rules))
	for i, r := range rules {
		// The id of a user's name may be another by now.
		if old := before[r.text]; old != nil && old.user == r.user {
			r = old
		}
		list[i] = r
	}
	s.rules.Store(&list)
}

// Rules returns the rules in effect.
func (s *Set) Rules() List {
	if list := s.rules.Load(); list != nil {
		return *list
	}
	return nil
}

// Version is the same as long as the rules are; nil: there were none yet.
func (s *Set) Version() *List { return s.rules.Load() }

// AddHandshake counts a handshake that a rule excluded, AddHit a hit of a probe.
func (s *Set) AddHandshake(r *Rule) {
	r.Handshakes.Add(1)
	s.handshakes.Add(1)
}

// AddHit counts a hit of a probe that a rule excluded.
func (s *Set) AddHit(r *Rule) {
	r.Hits.Add(1)
	s.hits.Add(1)
}

// Handshakes returns how many were excluded, Hits how many hits of probes.
func (s *Set) Handshakes() uint64 { return s.handshakes.Load() }

// Hits returns how many hits of probes were excluded.
func (s *Set) Hits() uint64 { return s.hits.Load() }
