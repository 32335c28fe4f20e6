// SPDX-License-Identifier: Apache-2.0

package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"crypto-auditing/src/internal/inventory/coverage"
)

// Changes are the changes since a baseline.
type Changes struct {
	// Since is the end of the baseline: later findings and uses are new.
	Since time.Time `json:"since"`
	// Gaps are reasons why uses that were not seen since may continue. Without gaps, they have stopped.
	Gaps []string `json:"gaps,omitempty"`
	// Findings and Uses are the changes, new ones first.
	Findings []Change `json:"findings"`
	Uses     []Change `json:"uses"`
}

// State is the change of a finding or a use since the baseline.
type State string

// States. NotSeen means that it was not seen since, but may not have been recorded: only Stopped is
// a confirmation.
const (
	New     State = "new"
	Stopped State = "stopped"
	NotSeen State = "not seen"
	Still   State = "still"
)

// Change is a finding or a use with its change.
type Change struct {
	State      State     `json:"state"`
	Rule       string    `json:"rule,omitempty"` // of findings
	Executable string    `json:"executable"`
	Unit       string    `json:"unit,omitempty"`
	Operation  string    `json:"operation,omitempty"`  // of uses
	Parameters string    `json:"parameters,omitempty"` // of uses
	Operations uint64    `json:"operations"`           // of the newer report, or else of the baseline
	Last       time.Time `json:"last"`
	// Open reports whether a finding is in force, and not accepted.
	Open bool `json:"open,omitempty"`
	// Why is the reason of NotSeen, unless it applies to all changes.
	Why string `json:"why,omitempty"`
}

// Label returns the name of the program with its unit.
func (c *Change) Label() string { return label(c.Executable, c.Unit) }

// BaselineError reports an unusable baseline.
type BaselineError struct{ Problem string }

func (e *BaselineError) Error() string { return e.Problem }

// ReadBaseline reads a report in JSON. The error for another file is a *BaselineError.
func ReadBaseline(r io.Reader) (*Report, error) {
	const most = 1 << 30
	data, err := io.ReadAll(io.LimitReader(r, most))
	if err != nil {
		return nil, err
	}
	var b Report
	if err := json.Unmarshal(data, &b); err != nil {
		return nil, &BaselineError{"it is not a report in JSON (crauctl report -o json): " + err.Error()}
	}
	switch {
	case b.Schema != Schema:
		return nil, &BaselineError{fmt.Sprintf("it is not a report of version %d in JSON (crauctl report -o json)", Schema)}
	case b.Anonymous:
		return nil, &BaselineError{"it is anonymous, and programs cannot be compared"}
	case b.Created.IsZero():
		return nil, &BaselineError{"it has no time"}
	}
	return &b, nil
}

// End returns the end of the recorded time in the report.
func (r *Report) End() time.Time {
	if !r.To.IsZero() && r.To.Before(r.Created) {
		return r.To
	}
	return r.Created
}

// Compare adds the changes since a baseline to the report. It must not be anonymous.
func (r *Report) Compare(baseline *Report) {
	c := &Changes{Since: baseline.End(), Findings: []Change{}, Uses: []Change{}}
	c.Gaps = r.gapsSince(c.Since)
	r.Changes = c
	c.findings(baseline, r)
	c.uses(baseline, r)
	for _, list := range [][]Change{c.Findings, c.Uses} {
		slices.SortStableFunc(list, func(x, y Change) int { return order(x.State) - order(y.State) })
	}
}

func order(s State) int { return slices.Index([]State{New, Still, NotSeen, Stopped}, s) }

// gapsSince returns the reasons why the report may be incomplete since a time.
func (r *Report) gapsSince(since time.Time) (gaps []string) {
	if r.Coverage.Empty() || !r.To.After(since) {
		return []string{"Nothing was recorded since."}
	}
	if r.From.After(since) {
		gaps = append(gaps, fmt.Sprintf("The report begins after the baseline ends, at %s UTC.", r.From.Format(TimeLayout)))
	}
	// Times without recording before the end of the baseline do not count.
	later := r.Coverage.Coverage
	later.Down = slices.DeleteFunc(slices.Clone(later.Down), func(s coverage.Span) bool { return !s.To.After(since) })
	return append(gaps, Completeness(&later).Gaps...)
}

// findingKey identifies a finding of a program.
type findingKey struct{ rule, executable, unit string }

// findings compares findings of rules that both reports have.
func (c *Changes) findings(before, now *Report) {
	open := make(map[findingKey]bool)
	for i := range before.Findings {
		f := &before.Findings[i]
		for j := range f.Programs {
			open[findingKey{f.Rule, f.Programs[j].Executable, f.Programs[j].Unit}] = true
		}
	}
	rules := make(map[string]bool)
	for i := range before.Rules {
		rules[before.Rules[i].ID] = true
	}
	since := make(map[findingKey]bool)
	for i := range now.Findings {
		f := &now.Findings[i]
		for j := range f.Programs {
			p := &f.Programs[j]
			key := findingKey{f.Rule, p.Executable, p.Unit}
			if !p.Last.After(c.Since) || !rules[f.Rule] {
				continue
			}
			since[key] = true
			state := New
			if open[key] {
				state = Still
			}
			c.Findings = append(c.Findings, Change{
				State: state, Rule: f.Rule, Executable: p.Executable, Unit: p.Unit, Operations: p.Operations, Last: p.Last,
				Open: f.InForce && p.Accepted == nil,
			})
		}
	}
	for i := range before.Findings {
		f := &before.Findings[i]
		if now.Rule(f.Rule).Text == "" {
			continue // the newer report lacks the rule
		}
		for j := range f.Programs {
			p := &f.Programs[j]
			if since[findingKey{f.Rule, p.Executable, p.Unit}] {
				continue
			}
			state, why := c.absent(before, now, p.Executable, p.Unit, func(u *Use) bool { return slices.Contains(u.Breaks, f.Rule) })
			c.Findings = append(c.Findings, Change{
				State: state, Rule: f.Rule, Executable: p.Executable, Unit: p.Unit, Operations: p.Operations, Last: p.Last,
				Open: f.InForce && p.Accepted == nil, Why: why,
			})
		}
	}
}

// absent returns the state of uses of a program that were not seen since: they have stopped only if they
// would have been recorded.
func (c *Changes) absent(before, now *Report, executable, unit string, about func(*Use) bool) (State, string) {
	if len(c.Gaps) > 0 {
		return NotSeen, ""
	}
	if now.Coverage.Sources == nil {
		return Stopped, ""
	}
	for i := range before.Uses {
		u := &before.Uses[i]
		if u.Executable != executable || u.Unit != unit || !about(u) {
			continue
		}
		if u.Source != "" && !slices.Contains(now.Coverage.Sources, u.Source) {
			return NotSeen, "The source " + u.Source + " is off now."
		}
		if u.Library != "" && !slices.ContainsFunc(now.Coverage.Libraries, func(l coverage.Library) bool { return l.Name == u.Library }) {
			return NotSeen, u.Library + " is not watched now."
		}
	}
	return Stopped, ""
}

// useKey identifies a use across libraries and sources.
type useKey struct{ executable, unit, operation, within, role, parameters string }

func (u *Use) key() useKey {
	return useKey{u.Executable, u.Unit, u.Operation, u.Within, u.Role, u.Text()}
}

func (u *Use) change(s State) Change {
	return Change{
		State: s, Executable: u.Executable, Unit: u.Unit, Operation: u.Operation, Parameters: u.Text(),
		Operations: u.Count, Last: u.Last,
	}
}

// uses compares uses. Continuing uses are not a change.
func (c *Changes) uses(before, now *Report) {
	known, since := make(map[useKey]bool), make(map[useKey]bool)
	for i := range before.Uses {
		known[before.Uses[i].key()] = true
	}
	for i := range now.Uses {
		u := &now.Uses[i]
		if !u.Last.After(c.Since) || since[u.key()] {
			continue
		}
		since[u.key()] = true
		if !known[u.key()] {
			c.Uses = append(c.Uses, u.change(New))
		}
	}
	for i := range before.Uses {
		u := &before.Uses[i]
		if since[u.key()] {
			continue
		}
		since[u.key()] = true
		state, why := c.absent(before, now, u.Executable, u.Unit, func(other *Use) bool { return other.key() == u.key() })
		change := u.change(state)
		change.Why = why
		c.Uses = append(c.Uses, change)
	}
}

// new reports whether a finding that is in force and not accepted is new.
func (c *Changes) new() bool {
	return slices.ContainsFunc(c.Findings, func(f Change) bool { return f.State == New && f.Open })
}

// errStill are the errors of Confirm.
var (
	errStill   = errors.New("still in use since the baseline")
	errNotSeen = errors.New("not seen since the baseline, but it may not have been recorded")
)

// Confirm returns an error unless all uses that break a rule have stopped since the baseline.
func (r *Report) Confirm(rule string) error {
	if r.Rule(rule).Text == "" {
		return fmt.Errorf("rule %s is not in the report: select its profile", rule)
	}
	var err error
	if len(r.Changes.Gaps) > 0 {
		err = errNotSeen
	}
	for i := range r.Changes.Findings {
		f := &r.Changes.Findings[i]
		if f.Rule != rule {
			continue
		}
		switch f.State {
		case New, Still:
			return errStill
		case NotSeen:
			err = errNotSeen
		}
	}
	return err
}
