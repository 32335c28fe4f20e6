// SPDX-License-Identifier: Apache-2.0

// Package report reports which cryptography the programs of a machine use, whether it resists quantum
// computers, which rules it breaks, and how complete the observations are. A report is a pure function
// of observations and rules.
package report

import (
	"encoding/json"
	"io"
	"math/bits"
	"time"

	"crypto-auditing/src/internal/inventory/coverage"
	"crypto-auditing/src/internal/inventory/rules"
)

// Schema is the version of the JSON form, which docs/report.schema.json describes.
const Schema = 1

// Report is the content of all forms. Times are in UTC.
type Report struct {
	Schema int `json:"schema"`
	// Tool is the program and the version that made the report, at Created.
	Tool    string    `json:"tool"`
	Created time.Time `json:"created"`
	// From and To are the period, zero where nothing was recorded.
	From time.Time `json:"from,omitzero"`
	To   time.Time `json:"to,omitzero"`
	// Profiles are the profiles that picked the rules.
	Profiles []string `json:"profiles"`
	// Anonymous reports whether programs, units and exact times were removed.
	Anonymous bool `json:"anonymous,omitempty"`

	Coverage   Coverage    `json:"coverage"`
	Summary    []Tally     `json:"summary"`
	Programs   []Program   `json:"programs"`
	Uses       []Use       `json:"uses"`
	Weeks      []Week      `json:"weeks"`
	Findings   []Finding   `json:"findings"`
	Exceptions []Exception `json:"exceptions,omitempty"`
	// Policy is the crypto-policy in force, empty if there is none or it is unknown.
	Policy string `json:"policy,omitempty"`
	// Changes are the changes since a baseline, nil without one.
	Changes *Changes `json:"changes,omitempty"`
	Rules   []Rule   `json:"rules"`
}

// Coverage describes how complete the report is.
type Coverage struct {
	coverage.Coverage

	// Gaps are sentences about gaps in the coverage. Gapless is set if no event was lost, no entry is
	// missing, and recording was never down, regardless of Unseen.
	Gaps    []string `json:"gaps"`
	Gapless bool     `json:"gapless"`
}

// Verdict is a verdict on an axis.
type Verdict string

// Verdicts. NotReady means that some operations are not ready, and none is known to be. Unknown means that
// none is known to be not ready, but some lack values. Unknown is neither a no nor a yes.
const (
	Ready    Verdict = "ready"
	Partly   Verdict = "partly"
	NotReady Verdict = "not ready"
	Unknown  Verdict = "unknown"
)

// Tally counts the programs with each verdict on an axis.
type Tally struct {
	Axis     rules.Axis `json:"axis"`
	Ready    int        `json:"ready"`
	Partly   int        `json:"partly"`
	NotReady int        `json:"not_ready"`
	Unknown  int        `json:"unknown"`
}

// Program is a program in a unit.
type Program struct {
	Executable string    `json:"executable"`
	Unit       string    `json:"unit,omitempty"`
	Purpose    string    `json:"purpose,omitempty"`
	Operations uint64    `json:"operations"`
	Failures   uint64    `json:"failures,omitempty"`
	First      time.Time `json:"first"`
	Last       time.Time `json:"last"`
	// Verdicts has one for each axis, in the order of rules.Axes.
	Verdicts []AxisVerdict `json:"verdicts"`
	// Relays is the number of handshakes that the program may only relay for others.
	Relays uint64 `json:"relays,omitempty"`
}

// Label returns the name of a program with its unit.
func (p *Program) Label() string { return label(p.Executable, p.Unit) }

// AxisVerdict is the verdict of a program on an axis, with the operations that it is based on.
type AxisVerdict struct {
	Axis    rules.Axis `json:"axis"`
	Verdict Verdict    `json:"verdict"`
	// Yes, No and Undecided are the numbers of operations that are ready, that are not, and that lack
	// values.
	Yes       uint64 `json:"yes"`
	No        uint64 `json:"no"`
	Undecided uint64 `json:"undecided"`
}

// Use is a use of a program, summed over the period.
type Use struct {
	Executable string `json:"executable"`
	Unit       string `json:"unit,omitempty"`
	Library    string `json:"library,omitempty"`
	LibraryID  string `json:"library_id,omitempty"`
	Source     string `json:"source,omitempty"`
	Operation  string `json:"operation"`
	Within     string `json:"within,omitempty"`
	Role       string `json:"role,omitempty"`
	// Parameters are the recorded ones, by the names of row.Parameters in lower case with _.
	Parameters map[string]string `json:"parameters,omitempty"`
	Count      uint64            `json:"count"`
	Failures   uint64            `json:"failures,omitempty"`
	First      time.Time         `json:"first"`
	Last       time.Time         `json:"last"`
	// KeyEstablishment and Authentication are safe or vulnerable against quantum computers, unknown,
	// or empty where the use has none.
	KeyEstablishment string `json:"key_establishment,omitempty"`
	Authentication   string `json:"authentication,omitempty"`
	// Breaks and Undecidable are ids of rules.
	Breaks      []string `json:"breaks,omitempty"`
	Undecidable []string `json:"undecidable,omitempty"`

	text string // the parameters in a line
}

// Label returns the name of the use's program with its unit.
func (u *Use) Label() string { return label(u.Executable, u.Unit) }

// Text returns the parameters in a line.
func (u *Use) Text() string {
	if u.text == "" {
		u.text = parametersText(u.Parameters)
	}
	return u.text
}

// Week counts the handshakes of a week by the keys that they established.
type Week struct {
	// Start is Monday, 0:00 UTC.
	Start      time.Time `json:"start"`
	Safe       uint64    `json:"safe"`
	Vulnerable uint64    `json:"vulnerable"`
	Unknown    uint64    `json:"unknown"`
}

// Total returns the number of all handshakes.
func (w *Week) Total() uint64 { return w.Safe + w.Vulnerable + w.Unknown }

// Bar returns the lengths of the parts for safe and unknown handshakes in a bar of the given length. Their sum
// is never longer, even if the sum of the numbers overflows.
func (w *Week) Bar(length int) (safe, unknown int) {
	total := w.Total()
	safe = part(w.Safe, total, length)
	return safe, min(part(w.Unknown, total, length), length-safe)
}

// part returns the share of n in a total of a length, rounded down.
func part(n, total uint64, length int) int {
	switch {
	case n == 0:
		return 0
	case n >= total: // or the sum has overflowed
		return length
	}
	high, low := bits.Mul64(n, uint64(length))
	q, _ := bits.Div64(high, low, total)
	return int(q)
}

// Finding is a rule that uses break, or for which they are undecidable.
type Finding struct {
	Rule string `json:"rule"`
	// InForce reports whether the rule is final, in force, and more than a recommendation; DaysLeft are
	// the days until its date.
	InForce  bool `json:"in_force"`
	DaysLeft int  `json:"days_left,omitempty"`
	// Programs are the programs that break it.
	Programs []Broken `json:"programs"`
	// UndecidablePrograms and UndecidableOperations count undecidable programs and operations.
	UndecidablePrograms   int    `json:"undecidable_programs,omitempty"`
	UndecidableOperations uint64 `json:"undecidable_operations,omitempty"`
}

// Open reports whether the rule is in force, and uses break it without an exception.
func (f *Finding) Open() bool {
	if !f.InForce {
		return false
	}
	for i := range f.Programs {
		if f.Programs[i].Accepted == nil {
			return true
		}
	}
	return false
}

// Broken is a program that breaks a rule.
type Broken struct {
	Executable string    `json:"executable"`
	Unit       string    `json:"unit,omitempty"`
	Operations uint64    `json:"operations"`
	First      time.Time `json:"first"`
	Last       time.Time `json:"last"`
	// Parameters has a line for each use.
	Parameters []string `json:"parameters"`
	// Accepted is the exception in force, nil if there is none.
	Accepted *Exception `json:"accepted,omitempty"`
}

// Label returns the name of the program with its unit.
func (b *Broken) Label() string { return label(b.Executable, b.Unit) }

// Exception is an exception of the administrator.
type Exception struct {
	Rule       string    `json:"rule"`
	Executable string    `json:"executable,omitempty"`
	Unit       string    `json:"unit,omitempty"`
	AcceptedBy string    `json:"accepted_by"`
	Until      time.Time `json:"until"`
	Why        string    `json:"why"`
	Expired    bool      `json:"expired,omitempty"`
	// Operations is the number of operations that it accepts in this report.
	Operations uint64 `json:"operations"`
}

// Rule is a rule of the annex.
type Rule struct {
	ID        string      `json:"id"`
	Text      string      `json:"text"`
	Axis      rules.Axis  `json:"axis"`
	Level     rules.Level `json:"level"`
	Date      time.Time   `json:"date,omitzero"`
	Status    string      `json:"status"`
	Source    string      `json:"source,omitempty"`
	Mark      string      `json:"mark,omitempty"`
	Quote     string      `json:"quote,omitempty"`
	Retrieved time.Time   `json:"retrieved,omitzero"`
}

// MarkText explains the mark of a rule.
func (r *Rule) MarkText() string { return rules.MarkText(r.Mark) }

// Rule returns the rule with an id. All rules of findings are in the annex.
func (r *Report) Rule(id string) *Rule {
	for i := range r.Rules {
		if r.Rules[i].ID == id {
			return &r.Rules[i]
		}
	}
	return &Rule{ID: id}
}

// JSON writes the report as JSON (docs/report.schema.json), which ReadBaseline reads.
func (r *Report) JSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// Failed reports whether a script should stop: a use breaks a rule in force without an exception; with a
// baseline, only if that is new.
func (r *Report) Failed() bool {
	if r.Changes != nil {
		return r.Changes.new()
	}
	for i := range r.Findings {
		if r.Findings[i].Open() {
			return true
		}
	}
	return false
}

func label(executable, unit string) string {
	switch {
	case executable == "" && unit == "":
		return "(unknown program)"
	case executable == "":
		return "(unknown program) in " + unit
	case unit == "":
		return executable
	}
	return executable + " in " + unit
}
