// SPDX-License-Identifier: Apache-2.0

// Package policycheck compares observations with a policy of crypto-policies: which programs would
// have to negotiate differently, and for which programs that is undecidable.
package policycheck

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"crypto-auditing/src/internal/inventory/coverage"
	"crypto-auditing/src/internal/inventory/cryptopolicy"
	"crypto-auditing/src/internal/inventory/observed"
	"crypto-auditing/src/internal/inventory/report"
	"crypto-auditing/src/internal/inventory/row"
)

// Report is the result of a check.
type Report struct {
	// Policy is the name of the policy, Files are its files.
	Policy   string   `json:"policy"`
	Files    []string `json:"files"`
	Warnings []string `json:"warnings,omitempty"`
	// Coverage describes how complete the observations are.
	Coverage coverage.Coverage `json:"coverage"`
	Totals   Counts            `json:"totals"`
	// Programs has programs with denied operations first, then with undecidable ones, each by name.
	Programs []Program `json:"programs"`
}

// Counts are numbers of operations that succeeded: failed ones agreed on nothing.
type Counts struct {
	Allowed     uint64 `json:"allowed"`
	Denied      uint64 `json:"denied"`
	Undecidable uint64 `json:"undecidable"`
	NotCovered  uint64 `json:"not_covered"`
}

func (c *Counts) add(v Verdict, n uint64) {
	switch v {
	case Allowed:
		c.Allowed += n
	case Denied:
		c.Denied += n
	case Undecidable:
		c.Undecidable += n
	case NotCovered:
		c.NotCovered += n
	}
}

// Verdict returns the verdict on a program with these operations: the worst one.
func (c *Counts) Verdict() Verdict {
	switch {
	case c.Denied > 0:
		return Denied
	case c.Undecidable > 0:
		return Undecidable
	case c.Allowed > 0:
		return Allowed
	}
	return NotCovered
}

// Program is the result for a program.
type Program struct {
	Executable string  `json:"executable"`
	Unit       string  `json:"unit,omitempty"`
	Verdict    Verdict `json:"verdict"`
	Counts
	// LastSeen is the time of the last operation, LastDenied the time of the last denied one, nil if
	// there is none.
	LastSeen   time.Time  `json:"last_seen"`
	LastDenied *time.Time `json:"last_denied,omitempty"`
	// Uses are the denied uses, then the undecidable ones.
	Uses []Use `json:"uses,omitempty"`
}

// Use is a use that a policy denies, or that is undecidable.
type Use struct {
	Verdict   Verdict `json:"verdict"`
	Operation string  `json:"operation"`
	Within    string  `json:"within,omitempty"`
	Role      string  `json:"role,omitempty"`
	Library   string  `json:"library,omitempty"`
	Source    string  `json:"source,omitempty"`
	// Parameters are the parameters of the use, as readable text.
	Parameters string    `json:"parameters"`
	Operations uint64    `json:"operations"`
	FirstSeen  time.Time `json:"first_seen"`
	LastSeen   time.Time `json:"last_seen"`
	Findings   []Finding `json:"findings"`
	// AlsoAllowed is the number of the program's operations of the same kind and role whose parameters
	// the policy allows.
	AlsoAllowed uint64 `json:"also_allowed"`
}

// checker compares uses with a policy.
type checker struct {
	policy *cryptopolicy.Policy
	scoped map[string]*cryptopolicy.Scoped // by scopes
}

// Check compares a policy with observations.
func Check(policy *cryptopolicy.Policy, o *observed.Observed) *Report {
	c := checker{policy, map[string]*cryptopolicy.Scoped{}}
	r := &Report{Policy: policy.Name, Files: policy.Files, Coverage: o.Coverage, Programs: []Program{}}
	for _, w := range policy.Warnings {
		r.Warnings = append(r.Warnings, w.String())
	}
	type program struct{ executable, unit string }
	type kind struct {
		program
		operation, within, role string
	}
	index := map[program]int{}
	allowed := map[kind]uint64{}
	for i := range o.Uses {
		u := &o.Uses[i]
		succeeded := u.Count - min(u.Failures, u.Count)
		if succeeded == 0 {
			continue // nothing was agreed on
		}
		result := c.judge(&u.Use)
		name := program{u.Executable, u.Unit}
		at, ok := index[name]
		if !ok {
			at = len(r.Programs)
			index[name] = at
			r.Programs = append(r.Programs, Program{Executable: u.Executable, Unit: u.Unit})
		}
		r.Totals.add(result.Verdict, succeeded)
		r.Programs[at].add(u, succeeded, result)
		if result.Verdict == Allowed {
			allowed[kind{name, u.Operation, u.Within, u.Role}] += succeeded
		}
	}
	for i := range r.Programs {
		p := &r.Programs[i]
		p.Verdict = p.Counts.Verdict()
		for j := range p.Uses {
			u := &p.Uses[j]
			u.AlsoAllowed = allowed[kind{program{p.Executable, p.Unit}, u.Operation, u.Within, u.Role}]
		}
		slices.SortStableFunc(p.Uses, func(a, b Use) int { return cmp.Compare(a.Verdict.rank(), b.Verdict.rank()) })
	}
	slices.SortFunc(r.Programs, func(a, b Program) int {
		return cmp.Or(cmp.Compare(a.Verdict.rank(), b.Verdict.rank()),
			strings.Compare(a.Executable, b.Executable), strings.Compare(a.Unit, b.Unit))
	})
	return r
}

// rank orders verdicts, the worst first.
func (v Verdict) rank() int {
	return slices.Index([]Verdict{Denied, Undecidable, Allowed, NotCovered}, v)
}

func (p *Program) add(u *row.Row, operations uint64, result Result) {
	p.Counts.add(result.Verdict, operations)
	if u.Last.After(p.LastSeen) {
		p.LastSeen = u.Last
	}
	if result.Verdict != Denied && result.Verdict != Undecidable {
		return
	}
	if last := u.Last; result.Verdict == Denied && (p.LastDenied == nil || last.After(*p.LastDenied)) {
		p.LastDenied = &last
	}
	p.Uses = append(p.Uses, Use{
		Verdict: result.Verdict, Operation: u.Operation, Within: u.Within, Role: u.Role, Library: u.Library, Source: u.Source,
		Parameters: report.Describe(&u.Parameters), Operations: operations, FirstSeen: u.First, LastSeen: u.Last, Findings: result.Findings,
	})
}

// judge returns the verdict on a use, by its back end or, if that is unknown, by all of them.
func (c *checker) judge(use *row.Use) Result {
	backEnds := backEndsOf(use)
	results := make([]Result, len(backEnds))
	for i, b := range backEnds {
		results[i] = c.judgeAs(use, b)
	}
	return merge(results, backEnds)
}

func (c *checker) judgeAs(use *row.Use, b backEnd) Result {
	key := strings.Join(b.scopes, " ")
	scoped := c.scoped[key]
	if scoped == nil {
		scoped = c.policy.Scoped(b.scopes...)
		c.scoped[key] = scoped
	}
	j := judge{policy: c.policy, backEnd: b, scoped: scoped}
	switch use.Operation {
	case row.TLSHandshake:
		j.tls(use)
	case row.SSHHandshake:
		j.ssh(use)
	default:
		j.publicKey(use)
	}
	return j.result()
}

// merge returns the first result if all back ends agree. If they do not, the use is undecidable.
func merge(results []Result, backEnds []backEnd) Result {
	first := results[0]
	var differing []string
	for i, r := range results {
		if r.Verdict != first.Verdict && !slices.Contains(differing, string(r.Verdict)+" with "+backEnds[i].name) {
			differing = append(differing, string(r.Verdict)+" with "+backEnds[i].name)
		}
	}
	denies := func(r Result) bool { return r.Verdict == Denied || r.Verdict == Undecidable }
	allows := func(r Result) bool { return !denies(r) }
	if differing == nil || !slices.ContainsFunc(results, denies) || first.Verdict == Undecidable && !slices.ContainsFunc(results, allows) {
		return first
	}
	f := Finding{Scope: backEnds[0].name}
	for _, r := range results { // of a back end that has one
		if len(r.Findings) > 0 {
			f = r.Findings[0]
			break
		}
	}
	f.Scope = backEnds[0].name
	f.Reason = "the library is not known, and back ends differ: " + strings.ReplaceAll(strings.Join(differing, ", "), "_", " ") +
		", " + strings.ReplaceAll(string(first.Verdict), "_", " ") + " with others"
	return Result{Undecidable, []Finding{f}}
}
