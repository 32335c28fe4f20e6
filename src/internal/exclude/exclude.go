// SPDX-License-Identifier: Apache-2.0

// Package exclude decides which programs are not recorded, by rules about the unit, the
// executable or the user. It counts exclusions by rule. The package does no I/O, except
// that parsing rules looks up user names.
package exclude

import (
	"fmt"
	"os/user"
	"path"
	"strconv"
	"strings"
	"sync/atomic"
)

// The subjects of rules.
const (
	unit       = "unit"
	executable = "executable"
	userKey    = "user"
)

// Program has the known properties of a program.
type Program struct {
	// Executable is the base name of its file.
	Executable string
	// Owned is set if User and Unit are known; otherwise only the executable is.
	Owned bool
	// User is the real user id.
	User uint32
	// Unit is the nearest service or scope, empty if there is none. ShortUnit is its name
	// without ids, as in the log.
	Unit, ShortUnit string
}

// Rule excludes programs. Any goroutine may change its counters.
type Rule struct {
	text    string
	about   string
	pattern string
	user    uint32
	// Handshakes counts excluded handshakes at sockets, Hits excluded probe hits.
	Handshakes, Hits atomic.Uint64
}

// String returns the rule as configured.
func (r *Rule) String() string { return r.text }

// Parse parses rules of the forms unit=GLOB, executable=GLOB and user=NAME, where the
// name may be a number. Globs have the syntax of path.Match, except that a backslash in a
// unit is an ordinary character, because names of units contain it. The error names the
// rule and the remedy.
func Parse(texts []string) ([]*Rule, error) {
	var rules []*Rule
	for _, text := range texts {
		r := &Rule{text: text}
		r.about, r.pattern, _ = strings.Cut(text, "=")
		switch r.about {
		case unit:
			// As in systemctl, a name without a suffix is the name of a service.
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

// userID returns the id of a user, given by name or number.
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

// matches reports whether a rule matches a program.
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

// matches reports whether a valid pattern matches a name.
func matches(pattern, name string) bool {
	ok, _ := path.Match(pattern, name)
	return ok
}

// List is an ordered list of rules. The first matching rule decides.
type List []*Rule

// Match returns the first rule that excludes a program, nil if none does.
func (l List) Match(p *Program) *Rule {
	for _, r := range l {
		if r.matches(p) {
			return r
		}
	}
	return nil
}

// NeedsOwner reports whether a rule depends on the unit or the user.
func (l List) NeedsOwner() bool {
	for _, r := range l {
		if r.about != executable {
			return true
		}
	}
	return false
}

// Set has the rules in effect. It is safe for concurrent use.
type Set struct {
	rules atomic.Pointer[List]
	// handshakes and hits count exclusions by all rules, including former ones.
	handshakes, hits atomic.Uint64
}

// Replace puts rules in effect. Unchanged rules keep their counts.
func (s *Set) Replace(rules []*Rule) {
	before := map[string]*Rule{}
	for _, r := range s.Rules() {
		before[r.text] = r
	}
	list := make(List, len(rules))
	for i, r := range rules {
		// The id of a user's name may have changed.
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

// Version identifies the rules: it changes with them, and is nil before the first ones.
func (s *Set) Version() *List { return s.rules.Load() }

// AddHandshake counts a handshake that a rule excluded.
func (s *Set) AddHandshake(r *Rule) {
	r.Handshakes.Add(1)
	s.handshakes.Add(1)
}

// AddHit counts a hit of a probe that a rule excluded.
func (s *Set) AddHit(r *Rule) {
	r.Hits.Add(1)
	s.hits.Add(1)
}

// Handshakes returns the number of excluded handshakes.
func (s *Set) Handshakes() uint64 { return s.handshakes.Load() }

// Hits returns the number of excluded probe hits.
func (s *Set) Hits() uint64 { return s.hits.Load() }
