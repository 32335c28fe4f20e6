// SPDX-License-Identifier: Apache-2.0

package selection

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"time"

	"crypto-auditing/src/client"
	"crypto-auditing/src/internal/cli/console"
	"crypto-auditing/src/internal/cli/render"
	"crypto-auditing/src/internal/cli/timespec"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/schema"
)

// lead is the time after --until for which a log is read, so that operations that ended
// after it are complete.
const lead = time.Minute

// Selection decides which trees are selected.
type Selection struct {
	registry *schema.Registry
	// Since and Until bound the time, in nanoseconds since the Unix epoch.
	Since, Until int64

	programs Names
	units    Names
	sources  []event.Source // nil: all
	contexts []schema.ContextPattern
	// contextNames are the names that contexts was compiled from.
	contextNames []string
	// ownRegistry reports that the registry differs from the broker's.
	ownRegistry bool
	// matches are grouped by key, and one of each group must hold; none of without
	// may hold.
	matches  [][]match
	without  []match
	grep     *regexp.Regexp // nil: all
	location *time.Location
	warnings []string
}

// New returns the selection for options and matches. given reports whether an option is
// on the command line.
func New(e *console.Environment, registry *schema.Registry, o *Options, matches []string, given func(option string) bool) (Selection, error) {
	s := Selection{registry: registry, Since: math.MinInt64, Until: math.MaxInt64, location: e.Location, ownRegistry: o.registry != nil}
	now := e.Now().In(e.Location)
	for _, limit := range []struct {
		text, option string
		to           *int64
	}{{o.since, "--since", &s.Since}, {o.until, "--until", &s.Until}} {
		if !given(limit.option[2:]) {
			continue
		}
		t, err := timespec.Parse(limit.text, now)
		if err != nil {
			return Selection{}, fmt.Errorf("cannot read %s: %w", limit.option, err)
		}
		*limit.to = t.UnixNano()
	}
	if o.Boot {
		boot, err := e.BootTime()
		if err != nil {
			return Selection{}, err
		}
		s.Since = max(s.Since, boot)
	}
	if s.Since > s.Until {
		return Selection{}, console.Usagef("--since is later than --until")
	}
	var err error
	if s.programs, err = NewPrograms(o.executables); err != nil {
		return Selection{}, err
	}
	if s.units, err = NewUnits(o.units); err != nil {
		return Selection{}, err
	}
	for _, name := range o.sources {
		if !slices.Contains(event.Sources(), event.Source(name)) {
			return Selection{}, console.Usagef("unknown source %q: there are %s", name, event.SourceNames())
		}
		s.sources = append(s.sources, event.Source(name))
	}
	for _, name := range o.contexts {
		pattern, err := schema.ParseContextPattern(name)
		if err != nil {
			return Selection{}, fmt.Errorf("cannot read --context: %w", err)
		}
		s.contexts, s.contextNames = append(s.contexts, pattern), append(s.contextNames, name)
		if known := registry.Contexts(); !slices.ContainsFunc(known, func(c string) bool { return pattern.Matches(registry, c) }) {
			s.warnings = append(s.warnings, warning("context", name, known))
		}
	}
	if err := s.addMatches(matches); err != nil {
		return Selection{}, err
	}
	if o.grep != "" {
		pattern := o.grep
		if strings.ToLower(pattern) == pattern {
			pattern = "(?i)" + pattern
		}
		if s.grep, err = regexp.Compile(pattern); err != nil {
			var bad *syntax.Error
			errors.As(err, &bad)
			return Selection{}, console.Usagef("bad pattern %q of --grep: %s", o.grep, bad.Code)
		}
	}
	return s, nil
}

func (s *Selection) addMatches(arguments []string) error {
	byKey := make(map[string]int)
	for _, argument := range arguments {
		m, err := parseMatch(s.registry, argument)
		if err != nil {
			return err
		}
		if m.unknown {
			s.warnings = append(s.warnings, warning("key", m.key, keyNames(s.registry)))
		}
		at, known := byKey[m.key]
		switch {
		case m.not:
			s.without = append(s.without, m)
		case known:
			s.matches[at] = append(s.matches[at], m)
		default:
			byKey[m.key] = len(s.matches)
			s.matches = append(s.matches, []match{m})
		}
	}
	return nil
}

// Warnings returns warnings about probable mistakes in the selection.
func (s *Selection) Warnings() []string { return s.warnings }

// All reports whether all operations are selected.
func (s *Selection) All() bool {
	return s.Since == math.MinInt64 && s.Until == math.MaxInt64 && s.programs.Any() && s.units.Any() && s.sources == nil && s.contexts == nil &&
		s.matches == nil && s.without == nil && s.grep == nil
}

// Shows reports whether a tree is selected.
func (s *Selection) Shows(root *schema.Span) bool {
	if root.Start < s.Since || root.End > s.Until {
		return false
	}
	if !s.programs.Any() && !found(root, func(span *schema.Span) bool { return s.programs.Have(span.Executable) }) {
		return false
	}
	if !s.units.Any() && !found(root, func(span *schema.Span) bool { return span.Unit != "" && s.units.Have(span.Unit) }) {
		return false
	}
	if s.sources != nil && !found(root, s.captured) {
		return false
	}
	if s.contexts != nil && !found(root, func(span *schema.Span) bool {
		for _, pattern := range s.contexts {
			if pattern.Matches(s.registry, span.Name) {
				return true
			}
		}
		return false
	}) {
		return false
	}
	for _, oneOf := range s.matches {
		if !slices.ContainsFunc(oneOf, func(m match) bool { return m.in(s.registry, root) }) {
			return false
		}
	}
	for i := range s.without {
		if s.without[i].in(s.registry, root) {
			return false
		}
	}
	return s.grep == nil || s.grep.MatchString(render.Text(root, s.registry, s.location))
}

// captured reports whether a selected source has captured a part of a span.
func (s *Selection) captured(span *schema.Span) bool {
	return slices.ContainsFunc(s.sources, span.CapturedBy)
}

// found reports whether a span of a tree fulfils a condition.
func found(root *schema.Span, condition func(*schema.Span) bool) bool {
	return !root.Walk(func(s *schema.Span) bool { return !condition(s) })
}

// ShowsNotice reports whether a notice is selected. Only its time matters, if it has one.
func (s *Selection) ShowsNotice(n *render.Notice) bool {
	return n.Kind() == render.Missing || n.End >= s.Since && n.Start <= s.Until
}

// Chunks returns the conditions by which the store can skip chunks. forced reports that
// the boot time is not the log's, so that times cannot be compared. Only properties of
// all parts of a tree can be conditions: its end and its program, but not its data; not
// its source, since several may capture one handshake; not its unit, which may be known
// only for a part.
func (s *Selection) Chunks(forced bool) logstore.Query {
	var chunks logstore.Query
	if !forced {
		if s.Until < math.MaxInt64-int64(lead) {
			chunks.Until = max(s.Until+int64(lead), 1)
		}
	}
	if s.programs.patterns != nil {
		return chunks
	}
	var terms []logstore.Term
	for _, name := range s.programs.names {
		if strings.Contains(name, `\`) {
			return chunks // the name may be the escaped form of another
		}
		terms = append(terms, logstore.NewTerm(logstore.Executable, name))
	}
	if terms != nil {
		chunks.Terms = [][]logstore.Term{terms}
	}
	return chunks
}

// Filter returns the conditions that the broker can apply: those that hold for every
// group of a tree. See Chunks.
func (s *Selection) Filter(forced bool) client.Filter {
	var f client.Filter
	if !forced {
		if s.Until < math.MaxInt64-int64(lead) {
			f.Until = time.Unix(0, max(s.Until+int64(lead), int64(time.Microsecond)))
		}
	}
	if s.programs.patterns != nil {
		return f
	}
	for _, name := range s.programs.names {
		f.Executables = append(f.Executables, event.Escaped(name))
		if escaped := event.Escaped(name); strings.Contains(name, `\`) && escaped != name {
			f.Executables = append(f.Executables, name) // the name may be the escaped form of another
		}
	}
	return f
}
