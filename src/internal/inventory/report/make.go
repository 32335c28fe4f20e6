// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"crypto-auditing/src/internal/inventory/fact"
	"crypto-auditing/src/internal/inventory/observed"
	"crypto-auditing/src/internal/inventory/row"
	"crypto-auditing/src/internal/inventory/rules"
)

// Options are the options of a report.
type Options struct {
	// Rules are the rules of Profiles.
	Rules    *rules.Set
	Profiles []string
	// Now determines which rules are in force, and is the time of the report.
	Now time.Time
	// Tool is the program with its version.
	Tool string
	// Policy is the crypto-policy in force, empty if it is unknown.
	Policy string
	// Anonymous makes a report that may be shared: without units, libraries, the administrator's
	// statements about programs, and the position in the log; with times to the hour; and without
	// executables unless Executables is set.
	Anonymous, Executables bool
}

// Make makes a report of observations.
func Make(o *observed.Observed, options Options) *Report {
	if options.Anonymous {
		o, options.Rules, options.Now = anonymous(o, options.Executables), anonymousRules(options.Rules), hour(options.Now)
	}
	o = Printable(o)
	m := maker{
		options: options, programs: make(map[program]*Program), findings: make(map[string]*finding),
		decided: make(map[row.Use]decision), accepted: make(map[rules.Exception]uint64),
		report: &Report{
			Schema: Schema, Tool: options.Tool, Created: options.Now.UTC(), Profiles: options.Profiles, Policy: options.Policy, Anonymous: options.Anonymous,
			From: o.Coverage.From.UTC(), To: o.Coverage.To.UTC(),
			Coverage: Completeness(&o.Coverage), Programs: []Program{}, Uses: make([]Use, 0, len(o.Uses)), Weeks: []Week{}, Findings: []Finding{},
		},
	}
	for i := range o.Uses {
		m.use(&o.Uses[i])
	}
	for i := range o.Coverage.Programs {
		p := &o.Coverage.Programs[i]
		if known := m.programs[program{p.Executable, p.Unit}]; known != nil {
			known.Relays = p.Relays
		}
	}
	m.finish()
	m.weeks(o.Weeks)
	return m.report
}

type program struct{ executable, unit string }

// maker collects a report.
type maker struct {
	options  Options
	report   *Report
	programs map[program]*Program
	findings map[string]*finding
	// decided caches decisions about uses, without program, library and source.
	decided  map[row.Use]decision
	accepted map[rules.Exception]uint64
}

// finding is a Finding under construction.
type finding struct {
	broken      map[program]*Broken
	undecidable map[program]bool
	operations  uint64
}

// decision is the result of rules and facts for a use.
type decision struct {
	facts               fact.Facts
	breaks, undecidable []string
	axes                []axisOutcome // in the order of rules.Axes
}

// axisOutcome is the result for a use on an axis.
type axisOutcome int

const (
	irrelevant axisOutcome = iota
	undecided
	good
	bad
)

// decide returns the decision about a use. It depends on the program only by its purpose.
func (m *maker) decide(u *row.Use) decision {
	key := row.Use{Operation: u.Operation, Within: u.Within, Role: u.Role, Parameters: u.Parameters}
	purpose := m.options.Rules.Purpose(u.Executable, u.Unit)
	if purpose != "" {
		key.Executable = "stated" // only these two kinds differ
	}
	if d, ok := m.decided[key]; ok {
		return d
	}
	d := decision{facts: fact.Of(u)}
	stated := "missing"
	if purpose != "" {
		stated = "stated"
	}
	d.facts[fact.Purpose] = fact.Fact{Values: []string{stated}, Complete: true}
	outcomes := make(map[rules.Axis]axisOutcome)
	for _, r := range m.options.Rules.Rules {
		outcome := r.Evaluate(u.Operation, d.facts)
		switch outcome {
		case rules.Breaks:
			d.breaks = append(d.breaks, r.ID)
		case rules.Undecidable:
			d.undecidable = append(d.undecidable, r.ID)
		}
		if r.Counts() {
			outcomes[r.Axis] = join(outcomes[r.Axis], outcome)
		}
	}
	for _, axis := range rules.Axes() {
		d.axes = append(d.axes, withFact(axis, outcomes[axis], d.facts))
	}
	m.decided[key] = d
	return d
}

// join joins the outcome of a further rule.
func join(a axisOutcome, o rules.Outcome) axisOutcome {
	switch {
	case o == rules.Breaks || a == bad:
		return bad
	case o == rules.Undecidable || a == undecided:
		return undecided
	case o == rules.Keeps:
		return good
	}
	return a
}

// withFact joins the outcome of rules with a fact that needs no rules: whether keys and signatures resist
// quantum computers. Rules can only make the result worse.
func withFact(axis rules.Axis, o axisOutcome, facts fact.Facts) axisOutcome {
	attribute := quantumOf(axis)
	if attribute == "" {
		return o
	}
	f, ok := facts[attribute]
	switch {
	case slices.Contains(f.Values, fact.Vulnerable) || o == bad:
		return bad
	case !ok || len(f.Values) == 0 && f.Complete:
		return irrelevant // a use without keys or signatures keeps their rules, but is not ready for that
	case len(f.Values) == 0 || o == undecided:
		return undecided
	}
	return good
}

func quantumOf(axis rules.Axis) fact.Attribute {
	switch axis {
	case rules.KeyEstablishment:
		return fact.Quantum
	case rules.Authentication:
		return fact.AuthenticationQuantum
	}
	return ""
}

// quantumText returns whether a use resists quantum computers, empty if this does not apply.
func quantumText(facts fact.Facts, attribute fact.Attribute) string {
	f, ok := facts[attribute]
	switch {
	case !ok || len(f.Values) == 0 && f.Complete:
		return ""
	case len(f.Values) == 0:
		return string(Unknown)
	}
	return f.Values[0]
}

// use adds a use.
func (m *maker) use(r *row.Row) {
	d := m.decide(&r.Use)
	m.report.Uses = append(m.report.Uses, Use{
		Executable: r.Executable, Unit: r.Unit, Library: r.Library, LibraryID: r.LibraryID, Source: r.Source,
		Operation: r.Operation, Within: r.Within, Role: r.Role, Parameters: parameters(&r.Parameters),
		Count: r.Count, Failures: r.Failures, First: r.First.UTC(), Last: r.Last.UTC(),
		KeyEstablishment: quantumText(d.facts, fact.Quantum), Authentication: quantumText(d.facts, fact.AuthenticationQuantum),
		Breaks: d.breaks, Undecidable: d.undecidable,
	})
	key := program{r.Executable, r.Unit}
	p := m.programs[key]
	if p == nil {
		p = &Program{
			Executable: r.Executable, Unit: r.Unit, Purpose: m.options.Rules.Purpose(r.Executable, r.Unit),
			First: r.First.UTC(), Last: r.Last.UTC(),
		}
		for _, axis := range rules.Axes() {
			p.Verdicts = append(p.Verdicts, AxisVerdict{Axis: axis})
		}
		m.programs[key] = p
	}
	p.Operations += r.Count
	p.Failures += r.Failures
	p.First, p.Last = earlier(p.First, r.First.UTC()), later(p.Last, r.Last.UTC())
	// Failed operations do not count as use.
	succeeded := r.Count - min(r.Failures, r.Count)
	if succeeded == 0 {
		return
	}
	for i, outcome := range d.axes {
		switch v := &p.Verdicts[i]; outcome {
		case good:
			v.Yes += succeeded
		case bad:
			v.No += succeeded
		case undecided:
			v.Undecided += succeeded
		}
	}
	text := m.report.Uses[len(m.report.Uses)-1].Text()
	for _, id := range d.breaks {
		m.finding(id).breaks(key, r, succeeded, r.Operation+" "+text)
	}
	for _, id := range d.undecidable {
		f := m.finding(id)
		f.undecidable[key] = true
		f.operations += succeeded
	}
}

func (m *maker) finding(id string) *finding {
	f := m.findings[id]
	if f == nil {
		f = &finding{broken: make(map[program]*Broken), undecidable: make(map[program]bool)}
		m.findings[id] = f
	}
	return f
}

func (f *finding) breaks(key program, r *row.Row, operations uint64, parameters string) {
	b := f.broken[key]
	if b == nil {
		b = &Broken{Executable: key.executable, Unit: key.unit, First: r.First.UTC(), Last: r.Last.UTC()}
		f.broken[key] = b
	}
	b.Operations += operations
	b.First, b.Last = earlier(b.First, r.First.UTC()), later(b.Last, r.Last.UTC())
	if !slices.Contains(b.Parameters, parameters) {
		b.Parameters = append(b.Parameters, parameters)
	}
}

// finish sorts the collected values and determines the verdicts.
func (m *maker) finish() {
	r := m.report
	for _, p := range m.programs {
		for i := range p.Verdicts {
			p.Verdicts[i].Verdict = verdict(&p.Verdicts[i])
		}
		r.Programs = append(r.Programs, *p)
	}
	slices.SortFunc(r.Programs, func(x, y Program) int {
		return cmp.Or(cmp.Compare(x.Executable, y.Executable), cmp.Compare(x.Unit, y.Unit))
	})
	for i, axis := range rules.Axes() {
		t := Tally{Axis: axis}
		for j := range r.Programs {
			t.add(r.Programs[j].Verdicts[i].Verdict)
		}
		r.Summary = append(r.Summary, t)
	}
	m.finishRules()
	for _, e := range m.options.Rules.Exceptions {
		x := exception(&e, m.options.Now)
		x.Operations = m.accepted[e]
		r.Exceptions = append(r.Exceptions, *x)
	}
}

// finishRules adds findings and the annex, in the order of rules.
func (m *maker) finishRules() {
	now := m.options.Now
	for _, rule := range m.options.Rules.Rules {
		status := "final"
		if rule.Draft {
			status = "draft"
		}
		m.report.Rules = append(m.report.Rules, Rule{
			ID: rule.ID, Text: rule.Text, Axis: rule.Axis, Level: rule.Level, Date: rule.Date, Status: status,
			Source: rule.Source, Mark: rule.Mark, Quote: rule.Quote, Retrieved: rule.Retrieved,
		})
		found := m.findings[rule.ID]
		if found == nil {
			continue
		}
		f := Finding{
			Rule: rule.ID, InForce: rule.InForce(now) && rule.Counts(), DaysLeft: rule.DaysLeft(now), Programs: []Broken{},
			UndecidablePrograms: len(found.undecidable), UndecidableOperations: found.operations,
		}
		for _, key := range slices.SortedFunc(maps.Keys(found.broken), func(x, y program) int {
			return cmp.Or(cmp.Compare(x.executable, y.executable), cmp.Compare(x.unit, y.unit))
		}) {
			b := found.broken[key]
			if e := m.options.Rules.Exception(rule.ID, key.executable, key.unit, now); e != nil {
				b.Accepted = exception(e, now)
				m.accepted[*e] += b.Operations
			}
			f.Programs = append(f.Programs, *b)
		}
		m.report.Findings = append(m.report.Findings, f)
	}
}

func exception(e *rules.Exception, now time.Time) *Exception {
	return &Exception{
		Rule: e.Rule, Executable: e.Executable, Unit: e.Unit, AcceptedBy: e.AcceptedBy, Until: e.Until, Why: e.Why, Expired: e.Expired(now),
	}
}

// verdict returns the verdict of operations.
func verdict(v *AxisVerdict) Verdict {
	switch {
	case v.Yes > 0 && v.No > 0:
		return Partly
	case v.No > 0:
		return NotReady
	case v.Yes > 0 && v.Undecided == 0:
		return Ready
	}
	return Unknown
}

func (t *Tally) add(v Verdict) {
	switch v {
	case Ready:
		t.Ready++
	case Partly:
		t.Partly++
	case NotReady:
		t.NotReady++
	default:
		t.Unknown++
	}
}

// weeks adds the post-quantum share of handshakes.
func (m *maker) weeks(rows []row.Row) {
	for i := range rows {
		r := &rows[i]
		succeeded := r.Count - min(r.Failures, r.Count)
		if succeeded == 0 || r.Operation != row.TLSHandshake && r.Operation != row.SSHHandshake {
			continue
		}
		start := r.Start.UTC()
		if n := len(m.report.Weeks); n == 0 || !m.report.Weeks[n-1].Start.Equal(start) {
			m.report.Weeks = append(m.report.Weeks, Week{Start: start})
		}
		w := &m.report.Weeks[len(m.report.Weeks)-1]
		switch quantumText(fact.Of(&r.Use), fact.Quantum) {
		case fact.Safe:
			w.Safe += succeeded
		case fact.Vulnerable:
			w.Vulnerable += succeeded
		default:
			w.Unknown += succeeded
		}
	}
}

func earlier(x, y time.Time) time.Time {
	if y.Before(x) {
		return y
	}
	return x
}

func later(x, y time.Time) time.Time {
	if y.After(x) {
		return y
	}
	return x
}
