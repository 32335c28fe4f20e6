// SPDX-License-Identifier: Apache-2.0

package selection

import (
	"fmt"
	"math"
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

// lead is how much of a log is read before and after the time that is asked
// for, so that operations which began or ended outside it are whole.
const lead = time.Minute

// Selection decides which trees are shown.
type Selection struct {
	registry *schema.Registry
	// Since and Until bound the time, in nanoseconds since the Unix epoch.
	Since, Until int64
	executables  map[string]bool
	contexts     []schema.ContextPattern
	matches      map[string][]schema.Match // by key
}

// New returns the selection that options and matches make.
func New(e *console.Environment, registry *schema.Registry, o *Options, matches []string) (Selection, error) {
	s := Selection{registry: registry, Since: math.MinInt64, Until: math.MaxInt64}
	now := e.Now().In(e.Location)
	for _, limit := range []struct {
		text, option string
		to           *int64
	}{{o.Since, "--since", &s.Since}, {o.Until, "--until", &s.Until}} {
		if limit.text == "" {
			continue
		}
		t, err := timespec.Parse(limit.text, now)
		if err != nil {
			return Selection{}, fmt.Errorf("cannot read %s: %w", limit.option, err)
		}
		*limit.to = t.UnixNano()
	}
	if s.Since > s.Until {
		return Selection{}, console.Usagef("--since is later than --until")
	}
	if len(o.executables) > 0 {
		s.executables = make(map[string]bool)
		for _, name := range o.executables {
			s.executables[name] = true
		}
	}
	for _, name := range o.contexts {
		pattern, err := schema.ParseContextPattern(name)
		if err != nil {
			return Selection{}, fmt.Errorf("cannot read --context: %w", err)
		}
		s.contexts = append(s.contexts, pattern)
	}
	for _, argument := range matches {
		match, err := registry.ParseMatch(argument)
		if err != nil {
			return Selection{}, err
		}
		if s.matches == nil {
			s.matches = make(map[string][]schema.Match)
		}
		s.matches[match.Key] = append(s.matches[match.Key], match)
	}
	return s, nil
}

// Shows reports whether a tree is selected.
func (s *Selection) Shows(root *schema.Span) bool {
	if root.Start < s.Since || root.End > s.Until {
		return false
	}
	if s.executables != nil && !found(root, func(span *schema.Span) bool {
		return s.executables[span.Executable] || s.executables[event.Escaped(span.Executable)]
	}) {
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
	for key, anyOf := range s.matches {
		if s.registry.WalkResults(root, key, func(span *schema.Span) bool {
			for i := range anyOf {
				if anyOf[i].In(s.registry, span) {
					return false // found
				}
			}
			return true
		}) {
			return false
		}
	}
	return true
}

// found reports whether a span of a tree fulfils a condition.
func found(root *schema.Span, condition func(*schema.Span) bool) bool {
	return !root.Walk(func(s *schema.Span) bool { return !condition(s) })
}

// ShowsNotice reports whether a notice is selected: only its time decides, if it
// has one.
func (s *Selection) ShowsNotice(n *render.Notice) bool {
	return n.Kind() == render.Missing || n.End >= s.Since && n.Start <= s.Until
}

// Chunks returns what the store need not read; forced reports whether the time of
// boot is not that of the log. Only what holds for all of a
// tree can tell: its time and its program, not the data in a part of it.
func (s *Selection) Chunks(forced bool) logstore.Query {
	var chunks logstore.Query
	if !forced {
		if s.Since > math.MinInt64+int64(lead) {
			chunks.Since = max(s.Since-int64(lead), 1)
		}
		if s.Until < math.MaxInt64-int64(lead) {
			chunks.Until = max(s.Until+int64(lead), 1)
		}
	}
	var terms []logstore.Term
	for name := range s.executables {
		if strings.Contains(name, `\`) {
			return chunks // it may be meant as the escaped form of another
		}
		terms = append(terms, logstore.NewTerm(logstore.Executable, name))
	}
	if terms != nil {
		chunks.Terms = [][]logstore.Term{terms}
	}
	return chunks
}

// Filter returns what of the selection the broker can apply: what holds for
// every group of a tree. See Chunks.
func (s *Selection) Filter(forced bool) client.Filter {
	var f client.Filter
	if !forced {
		if s.Since > math.MinInt64+int64(lead) {
			f.Since = time.Unix(0, max(s.Since-int64(lead), int64(time.Microsecond)))
		}
		if s.Until < math.MaxInt64-int64(lead) {
			f.Until = time.Unix(0, max(s.Until+int64(lead), int64(time.Microsecond)))
		}
	}
	for name := range s.executables {
		f.Executables = append(f.Executables, event.Escaped(name))
		if escaped := event.Escaped(name); strings.Contains(name, `\`) && escaped != name {
			f.Executables = append(f.Executables, name) // it may be meant as the escaped form of another
		}
	}
	return f
}
