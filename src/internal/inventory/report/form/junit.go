// SPDX-License-Identifier: Apache-2.0

package form

import (
	"fmt"
	"io"
	"slices"
	"time"

	"crypto-auditing/src/internal/inventory/junit"
	"crypto-auditing/src/internal/inventory/report"
)

// JUnit writes a report as JUnit XML: a suite for the coverage, one for each rule with a test case for each
// program, and one for the changes. A test fails if the program breaks a rule in force without an exception. It
// is skipped if the rule is undecidable.
func JUnit(w io.Writer, r *report.Report) error {
	suites := []junit.Suite{coverageSuite(r)}
	for i := range r.Rules {
		if s := ruleSuite(r, &r.Rules[i]); len(s.Cases) > 0 {
			suites = append(suites, s)
		}
	}
	if r.Changes != nil {
		suites = append(suites, changesSuite(r))
	}
	return junit.Write(w, "crypto-auditing", r.Created, suites)
}

// coverageSuite has a case that is skipped if recording had a gap.
func coverageSuite(r *report.Report) junit.Suite {
	c := junit.Case{Class: "coverage", Name: "recording had no gap"}
	for _, line := range r.Coverage.Lines() {
		c.Out += line + "\n"
	}
	if !r.Coverage.Gapless {
		c.Skipped = &junit.Message{Message: r.Coverage.Gaps[0]}
	}
	return junit.Suite{Name: "coverage", Cases: []junit.Case{c}}
}

func ruleSuite(r *report.Report, rule *report.Rule) junit.Suite {
	s := junit.Suite{Name: rule.ID + ": " + rule.Text}
	var f *report.Finding
	if i := slices.IndexFunc(r.Findings, func(f report.Finding) bool { return f.Rule == rule.ID }); i >= 0 {
		f = &r.Findings[i]
	}
	for i := range r.Programs {
		p := &r.Programs[i]
		c := junit.Case{Class: rule.ID, Name: p.Label()}
		if f == nil {
			s.Cases = append(s.Cases, c)
			continue
		}
		if j := slices.IndexFunc(f.Programs, func(b report.Broken) bool { return b.Executable == p.Executable && b.Unit == p.Unit }); j >= 0 {
			judge(&c, f, &f.Programs[j], rule)
		} else if undecidable(r, rule.ID, p) {
			c.Skipped = &junit.Message{Message: "undecidable: values were not recorded"}
		}
		s.Cases = append(s.Cases, c)
	}
	return s
}

// judge sets the result for a program that breaks the rule.
func judge(c *junit.Case, f *report.Finding, b *report.Broken, rule *report.Rule) {
	text := fmt.Sprintf("%s, last %s: %s", report.Counted(b.Operations, "operation"), b.Last.Format(time.RFC3339), rule.Text)
	details := ""
	for _, line := range b.Parameters {
		details += line + "\n"
	}
	switch {
	case b.Accepted != nil:
		c.Skipped = &junit.Message{Message: fmt.Sprintf("accepted by %s until %s: %s", b.Accepted.AcceptedBy, b.Accepted.Until.Format(time.DateOnly), b.Accepted.Why)}
	case f.InForce:
		c.Failure = &junit.Message{Message: text, Text: details}
	default:
		c.Out = f.When(rule) + ". " + text + "\n" + details
	}
}

// undecidable reports whether the rule is undecidable for uses of a program.
func undecidable(r *report.Report, rule string, p *report.Program) bool {
	return slices.ContainsFunc(r.Uses, func(u report.Use) bool {
		return u.Executable == p.Executable && u.Unit == p.Unit && slices.Contains(u.Undecidable, rule)
	})
}

// changesSuite has a case for each finding of the baseline or of this report. New ones fail.
func changesSuite(r *report.Report) junit.Suite {
	s := junit.Suite{Name: "changes since " + r.Changes.Since.Format(time.RFC3339)}
	for i := range r.Changes.Findings {
		f := &r.Changes.Findings[i]
		c := junit.Case{Class: "changes." + f.Rule, Name: f.Label() + " is " + string(f.State)}
		switch {
		case f.State == report.New && f.Open:
			c.Failure = &junit.Message{Message: r.Rule(f.Rule).Text}
		case f.State == report.NotSeen:
			c.Skipped = &junit.Message{Message: "not seen since, but recording had gaps. " + f.Why}
		}
		s.Cases = append(s.Cases, c)
	}
	return s
}
