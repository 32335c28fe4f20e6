// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"fmt"
	"time"
)

// OpenFindings returns the number of rules in force that are broken without an exception.
func (r *Report) OpenFindings() (n int) {
	for i := range r.Findings {
		if r.Findings[i].Open() {
			n++
		}
	}
	return n
}

// When returns the date since which the rule of the finding is in force, or the number of days left.
func (f *Finding) When(rule *Rule) string {
	text := string(rule.Level)
	switch {
	case f.DaysLeft > 0:
		text += fmt.Sprintf(" from %s, %s left", rule.Date.Format(time.DateOnly), Counted(uint64(f.DaysLeft), "day"))
	case !rule.Date.IsZero():
		text += " since " + rule.Date.Format(time.DateOnly)
	}
	if rule.Status == "draft" {
		text += ", draft"
	}
	return text
}

// Label returns the programs that the exception applies to.
func (e *Exception) Label() string {
	if e.Executable == "" && e.Unit == "" {
		return "all programs"
	}
	return label(cmp.Or(e.Executable, "*"), e.Unit)
}

// Effect describes the effect of the exception in the report.
func (e *Exception) Effect() string {
	if e.Expired {
		return "expired"
	}
	return Counted(e.Operations, "operation") + " accepted"
}

// Evidence returns the part of the log that the report is based on, empty if it is unknown.
func (r *Report) Evidence() string {
	c := &r.Coverage
	if c.Last == 0 {
		return ""
	}
	text := fmt.Sprintf("Entries %d to %d of the log", c.First, c.Last)
	if c.Chain != "" {
		text += ", hash chain of the last " + c.Chain
	}
	return text + "."
}
