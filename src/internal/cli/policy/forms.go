// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"crypto-auditing/src/internal/cli/console"
	"crypto-auditing/src/internal/cli/render"
	"crypto-auditing/src/internal/inventory/junit"
	"crypto-auditing/src/internal/inventory/policycheck"
	"crypto-auditing/src/internal/inventory/report"
)

// style is the style of the output.
type style struct {
	location *time.Location
	color    bool
	now      time.Time
}

type writer func(w io.Writer, r *policycheck.Report, s style) error

func forms() console.Forms[writer] {
	return console.Forms[writer]{
		{Name: "text", Help: "text of 80 columns", Write: writeText},
		{Name: "json", Help: "JSON", Write: writeJSON},
		{Name: "csv", Help: "a line for each program", Write: writeCSV},
		{Name: "junit", Help: "JUnit XML, for continuous integration", Write: writeJUnit},
	}
}

func writeJSON(w io.Writer, r *policycheck.Report, _ style) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

func writeCSV(w io.Writer, r *policycheck.Report, _ style) error {
	c := csv.NewWriter(w)
	if err := c.Write([]string{
		"policy", "executable", "unit", "verdict", "allowed", "denied", "undecidable", "not_covered", "last_seen", "last_denied", "denied_by", "not_decided",
	}); err != nil {
		return err
	}
	for i := range r.Programs {
		p := &r.Programs[i]
		last := ""
		if p.LastDenied != nil {
			last = p.LastDenied.Format(time.RFC3339)
		}
		line := []string{
			r.Policy, p.Executable, p.Unit, string(p.Verdict), number(p.Allowed), number(p.Denied), number(p.Undecidable), number(p.NotCovered),
			p.LastSeen.Format(time.RFC3339), last, reasons(p, policycheck.Denied), reasons(p, policycheck.Undecidable),
		}
		for j := range line {
			line[j] = render.Cell(line[j])
		}
		if err := c.Write(line); err != nil {
			return err
		}
	}
	c.Flush()
	return c.Error()
}

func number(n uint64) string { return strconv.FormatUint(n, 10) }

// reasons returns the properties, with their values, that are the reasons for a verdict about a program's uses.
func reasons(p *policycheck.Program, verdict policycheck.Verdict) string {
	var all []string
	for i := range p.Uses {
		if p.Uses[i].Verdict != verdict {
			continue
		}
		for _, f := range p.Uses[i].Findings {
			if reason := strings.TrimSpace(f.Property + " " + f.Value); !slices.Contains(all, reason) {
				all = append(all, reason)
			}
		}
	}
	slices.Sort(all)
	return strings.Join(all, "; ")
}

// writeJUnit writes a test for each program: failed if the policy denies one of its operations, skipped if
// some of them are undecidable.
func writeJUnit(w io.Writer, r *policycheck.Report, s style) error {
	complete := report.Completeness(&r.Coverage)
	coverage := junit.Case{Class: "coverage", Name: "recording had no gap", Out: strings.Join(complete.Lines(), "\n") + "\n"}
	if !complete.Gapless {
		coverage.Skipped = &junit.Message{Message: complete.Gaps[0]}
	}
	programs := junit.Suite{Name: "crypto policy " + r.Policy}
	for i := range r.Programs {
		p := &r.Programs[i]
		c := junit.Case{Class: "policy." + r.Policy, Name: label(p)}
		switch p.Verdict {
		case policycheck.Denied:
			c.Failure = &junit.Message{
				Message: fmt.Sprintf("would have to negotiate differently: %s, last %s", report.Counted(p.Denied, "operation"), p.LastDenied.Format(time.RFC3339)),
				Text:    details(p, policycheck.Denied),
			}
		case policycheck.Undecidable:
			c.Skipped = &junit.Message{
				Message: "undecidable: " + report.Counted(p.Undecidable, "operation"), Text: details(p, policycheck.Undecidable),
			}
		}
		programs.Cases = append(programs.Cases, c)
	}
	return junit.Write(w, "crypto-auditing", s.now, []junit.Suite{{Name: "coverage", Cases: []junit.Case{coverage}}, programs})
}

// details returns a line for each use with a verdict.
func details(p *policycheck.Program, verdict policycheck.Verdict) string {
	var text strings.Builder
	for i := range p.Uses {
		if u := &p.Uses[i]; u.Verdict == verdict {
			fmt.Fprintf(&text, "%s: %s, %s\n", kind(u), u.Parameters, report.Counted(u.Operations, "operation"))
			for _, f := range u.Findings {
				fmt.Fprintf(&text, "  %s\n", sentence(&f))
			}
		}
	}
	return text.String()
}

func label(p *policycheck.Program) string {
	name := p.Executable
	if name == "" {
		name = "unknown program"
	}
	if p.Unit != "" {
		name += " (" + p.Unit + ")"
	}
	return name
}

// kind returns the kind of an operation with its role.
func kind(u *policycheck.Use) string {
	text := u.Operation
	if u.Role != "" {
		text += " " + u.Role
	}
	if u.Within != "" {
		text += " in " + u.Within
	}
	return text
}

// sentence returns a finding in a line.
func sentence(f *policycheck.Finding) string {
	text := f.Property
	if f.Value != "" {
		text += " " + f.Value
	}
	text += ": " + f.Reason
	if f.Directive != "" {
		text += fmt.Sprintf(" (%s, %s:%d)", f.Directive, f.File, f.Line)
	}
	return text + ", scope " + f.Scope
}
