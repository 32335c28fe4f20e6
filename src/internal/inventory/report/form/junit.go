// SPDX-License-Identifier: Apache-2.0

package form

import (
	"encoding/xml"
	"fmt"
	"io"
	"slices"
	"time"

	"crypto-auditing/src/internal/inventory/report"
)

// The elements of JUnit's XML that continuous integration systems read.
type (
	testSuites struct {
		XMLName  xml.Name    `xml:"testsuites"`
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Skipped  int         `xml:"skipped,attr"`
		Suites   []testSuite `xml:"testsuite"`
	}
	testSuite struct {
		Name      string     `xml:"name,attr"`
		Tests     int        `xml:"tests,attr"`
		Failures  int        `xml:"failures,attr"`
		Skipped   int        `xml:"skipped,attr"`
		Timestamp string     `xml:"timestamp,attr"`
		Cases     []testCase `xml:"testcase"`
	}
	testCase struct {
		Class   string   `xml:"classname,attr"`
		Name    string   `xml:"name,attr"`
		Failure *message `xml:"failure,omitempty"`
		Skipped *message `xml:"skipped,omitempty"`
		Out     string   `xml:"system-out,omitempty"`
	}
	message struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

// JUnit writes a report as JUnit XML: a suite for the coverage, one for each rule with a test case for each
// program, and one for the changes. A test fails if the program breaks a rule that is in force, and nobody has
// accepted that. It is skipped where the rule cannot be decided.
func JUnit(w io.Writer, r *report.Report) error {
	all := testSuites{Name: "crypto-auditing"}
	all.Suites = append(all.Suites, coverageSuite(r))
	for i := range r.Rules {
		if s := ruleSuite(r, &r.Rules[i]); len(s.Cases) > 0 {
			all.Suites = append(all.Suites, s)
		}
	}
	if r.Changes != nil {
		all.Suites = append(all.Suites, changesSuite(r))
	}
	for i := range all.Suites {
		s := &all.Suites[i]
		s.Timestamp = r.Created.Format("2006-01-02T15:04:05")
		for j := range s.Cases {
			s.Tests++
			if s.Cases[j].Failure != nil {
				s.Failures++
			}
			if s.Cases[j].Skipped != nil {
				s.Skipped++
			}
		}
		all.Tests, all.Failures, all.Skipped = all.Tests+s.Tests, all.Failures+s.Failures, all.Skipped+s.Skipped
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(all); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

// coverageSuite has a case that is skipped if recording had a gap.
func coverageSuite(r *report.Report) testSuite {
	c := testCase{Class: "coverage", Name: "recording had no gap"}
	for _, line := range r.Coverage.Lines() {
		c.Out += line + "\n"
	}
	if !r.Coverage.Gapless {
		c.Skipped = &message{Message: r.Coverage.Gaps[0]}
	}
	return testSuite{Name: "coverage", Cases: []testCase{c}}
}

func ruleSuite(r *report.Report, rule *report.Rule) testSuite {
	s := testSuite{Name: rule.ID + ": " + rule.Text}
	var f *report.Finding
	if i := slices.IndexFunc(r.Findings, func(f report.Finding) bool { return f.Rule == rule.ID }); i >= 0 {
		f = &r.Findings[i]
	}
	for i := range r.Programs {
		p := &r.Programs[i]
		c := testCase{Class: rule.ID, Name: p.Label()}
		if f == nil {
			s.Cases = append(s.Cases, c)
			continue
		}
		if j := slices.IndexFunc(f.Programs, func(b report.Broken) bool { return b.Executable == p.Executable && b.Unit == p.Unit }); j >= 0 {
			c.judge(f, &f.Programs[j], rule)
		} else if undecidable(r, rule.ID, p) {
			c.Skipped = &message{Message: "undecidable: values were not recorded"}
		}
		s.Cases = append(s.Cases, c)
	}
	return s
}

// judge sets the result for a program that breaks the rule.
func (c *testCase) judge(f *report.Finding, b *report.Broken, rule *report.Rule) {
	text := fmt.Sprintf("%s, last %s: %s", report.Counted(b.Operations, "operation"), b.Last.Format(time.RFC3339), rule.Text)
	details := ""
	for _, line := range b.Parameters {
		details += line + "\n"
	}
	switch {
	case b.Accepted != nil:
		c.Skipped = &message{Message: fmt.Sprintf("accepted by %s until %s: %s", b.Accepted.AcceptedBy, b.Accepted.Until.Format(time.DateOnly), b.Accepted.Why)}
	case f.InForce:
		c.Failure = &message{text, details}
	default:
		c.Out = f.When(rule) + ". " + text + "\n" + details
	}
}

// undecidable reports whether the rule cannot be decided of uses of a program.
func undecidable(r *report.Report, rule string, p *report.Program) bool {
	return slices.ContainsFunc(r.Uses, func(u report.Use) bool {
		return u.Executable == p.Executable && u.Unit == p.Unit && slices.Contains(u.Undecidable, rule)
	})
}

// changesSuite has a case for each finding of the baseline or of this report. New ones fail.
func changesSuite(r *report.Report) testSuite {
	s := testSuite{Name: "changes since " + r.Changes.Since.Format(time.RFC3339)}
	for i := range r.Changes.Findings {
		f := &r.Changes.Findings[i]
		c := testCase{Class: "changes." + f.Rule, Name: f.Label() + " is " + string(f.State)}
		switch {
		case f.State == report.New && f.Open:
			c.Failure = &message{Message: r.Rule(f.Rule).Text}
		case f.State == report.NotSeen:
			c.Skipped = &message{Message: "not seen since, but recording had gaps. " + f.Why}
		}
		s.Cases = append(s.Cases, c)
	}
	return s
}
