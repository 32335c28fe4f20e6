// SPDX-License-Identifier: Apache-2.0

package form

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"

	"crypto-auditing/src/internal/inventory/report"
	"crypto-auditing/src/internal/inventory/rules"
)

// Style is the style of the text form.
type Style struct {
	// Color uses the control sequences of ECMA-48.
	Color bool
	// Location is the time zone of times, UTC if nil.
	Location *time.Location
	// Changes writes only the changes since the baseline.
	Changes bool
}

// width is the number of columns of the text form.
const width = 80

// textWriter writes the text form. It is ASCII except for names.
type textWriter struct {
	*bufio.Writer

	r     *report.Report
	style Style
}

// Text writes a report as text of 80 columns: verdicts, their coverage, then details.
func Text(w io.Writer, r *report.Report, style Style) error {
	if style.Location == nil {
		style.Location = time.UTC
	}
	t := textWriter{bufio.NewWriter(w), r, style}
	t.head()
	if !style.Changes {
		t.verdicts()
		t.coverage()
	}
	t.changes()
	if !style.Changes {
		t.weeks()
		t.uses()
		t.findings()
		t.exceptions()
		t.annex()
	}
	return t.Flush()
}

// Colours by meaning (ECMA-48).
const (
	styleReset = "\x1b[0m"
	styleTitle = "\x1b[1m"
	styleGood  = "\x1b[32m"
	stylePart  = "\x1b[33m"
	styleBad   = "\x1b[31m"
	styleFaint = "\x1b[2m"
)

// styled returns a text of a width with a colour.
func (t *textWriter) styled(style, text string, columns int) string {
	padded := pad(text, columns)
	if !t.style.Color || style == "" {
		return padded
	}
	return style + strings.TrimRight(padded, " ") + styleReset + padded[len(strings.TrimRight(padded, " ")):]
}

func (t *textWriter) verdict(v report.Verdict, columns int) string {
	style := map[report.Verdict]string{report.Ready: styleGood, report.Partly: stylePart, report.NotReady: styleBad, report.Unknown: styleFaint}[v]
	return t.styled(style, string(v), columns)
}

func (t *textWriter) title(text string) {
	fmt.Fprintf(t, "\n%s\n", t.styled(styleTitle, strings.ToUpper(text), 0))
}

func (t *textWriter) at(at time.Time) string {
	return at.In(t.style.Location).Format(report.TimeLayout)
}

func (t *textWriter) day(at time.Time) string { return at.Format(time.DateOnly) }

// wrapped writes a text in lines that begin with an indent, the first one with another.
func (t *textWriter) wrapped(first, indent, text string) { t.wrappedAfter(0, first, indent, text) }

// wrappedAfter writes such lines after some columns that the first one already has.
func (t *textWriter) wrappedAfter(written int, first, indent, text string) {
	line, empty := first, true
	for _, word := range report.Words(text) {
		if !empty && written+columns(line)+1+columns(word) > width {
			fmt.Fprintln(t, line)
			line, empty, written = indent, true, 0
		}
		if !empty {
			line += " "
		}
		line, empty = line+word, false
	}
	fmt.Fprintln(t, line)
}

// brokenRules is a sentence about a number of rules.
func brokenRules(n int) string {
	if n == 1 {
		return "1 rule in force is broken."
	}
	return report.Counted(uint64(n), "rule") + " in force are broken."
}

// noFindings is a sentence for a report without findings.
func noFindings(r *report.Report) string {
	if len(r.Uses) == 0 {
		return "No operation was recorded, so that no rule could be decided."
	}
	return "No rule is broken, and all could be decided."
}

func (t *textWriter) head() {
	r := t.r
	title := "Cryptography in use"
	if !r.From.IsZero() {
		title += fmt.Sprintf(", %s to %s", t.at(r.From), t.at(r.To))
	}
	if r.Anonymous {
		title += ", anonymous"
	}
	fmt.Fprintln(t, t.styled(styleTitle, title, 0))
	t.wrapped("", "", fmt.Sprintf("By %s, %s. Rules of: %s.", r.Tool, t.at(r.Created), strings.Join(r.Profiles, ", ")))
	if !r.Coverage.Gapless {
		fmt.Fprintln(t, t.styled(stylePart, "Recording was not complete: see Coverage.", 0))
	}
}

// Columns of the table of verdicts.
const (
	programColumns = 31
	countColumns   = 11
	verdictColumns = 12
)

func (t *textWriter) verdicts() {
	t.title("Verdicts")
	if len(t.r.Programs) == 0 {
		fmt.Fprintln(t, "unknown: no operation was recorded.")
	} else {
		fmt.Fprintf(t, "%s %*s  %s %s %s\n", pad("", programColumns), countColumns, "", pad("key estab-", verdictColumns), pad("authenti-", verdictColumns), "classical")
		fmt.Fprintf(t, "%s %*s  %s %s %s\n", pad("program", programColumns), countColumns, "operations",
			pad("lishment", verdictColumns), pad("cation", verdictColumns), "hygiene")
	}
	for i := range t.r.Programs {
		p := &t.r.Programs[i]
		line := fmt.Sprintf("%s %*s ", pad(cut(p.Label(), programColumns), programColumns), countColumns, report.Grouped(p.Operations))
		for j := range p.Verdicts {
			line += " " + t.verdict(p.Verdicts[j].Verdict, verdictColumns)
		}
		fmt.Fprintln(t, strings.TrimRight(line, " "))
	}
	if len(t.r.Programs) == 0 {
		return
	}
	fmt.Fprintln(t)
	for _, s := range t.r.Summary {
		t.wrapped(pad(axisTitle(s.Axis)+":", 20), strings.Repeat(" ", 20), fmt.Sprintf("%d ready, %d partly, %d not ready, %d unknown, of %s",
			s.Ready, s.Partly, s.NotReady, s.Unknown, report.Counted(uint64(len(t.r.Programs)), "program")))
	}
	if open := t.r.OpenFindings(); open > 0 {
		fmt.Fprintf(t, "%s\n", t.styled(styleBad, brokenRules(open), 0))
	}
}

// axisTitle returns the name of an axis at the beginning of a line.
func axisTitle(a rules.Axis) string {
	if a == rules.Classical {
		return "Classical hygiene"
	}
	return strings.ToUpper(string(a[:1])) + string(a[1:])
}

func (t *textWriter) coverage() {
	t.title("Coverage")
	gaps := len(t.r.Coverage.Gaps)
	for i, line := range t.r.Coverage.Lines() {
		mark := "- "
		if i < gaps {
			mark = "! "
		}
		t.wrapped(mark, "  ", line)
	}
}

func (t *textWriter) changes() {
	c := t.r.Changes
	if c == nil {
		return
	}
	t.title("Changes since " + t.at(c.Since))
	for _, gap := range c.Gaps {
		t.wrapped("! ", "  ", gap)
	}
	if len(c.Findings) == 0 && len(c.Uses) == 0 {
		fmt.Fprintln(t, "Nothing is new, and nothing has stopped.")
	}
	for i := range c.Findings {
		t.change(&c.Findings[i], c.Findings[i].Rule)
	}
	for i := range c.Uses {
		t.change(&c.Uses[i], c.Uses[i].Operation+" "+c.Uses[i].Parameters)
	}
}

func (t *textWriter) change(c *report.Change, subject string) {
	const stateColumns = 9
	style := map[report.State]string{report.New: stylePart, report.Still: styleFaint, report.Stopped: styleGood, report.NotSeen: styleFaint}[c.State]
	if c.State == report.New && c.Open {
		style = styleBad
	}
	text := fmt.Sprintf("%s: %s; %s, last %s.", c.Label(), subject, report.Counted(c.Operations, "operation"), t.at(c.Last))
	if c.Why != "" {
		text += " " + c.Why
	}
	fmt.Fprint(t, t.styled(style, string(c.State), stateColumns))
	t.wrappedAfter(stateColumns, " ", strings.Repeat(" ", stateColumns+1), text)
}

func (t *textWriter) weeks() {
	if len(t.r.Weeks) == 0 {
		return
	}
	t.title("Post-quantum share of handshakes by week")
	const barColumns = 40
	for i := range t.r.Weeks {
		w := &t.r.Weeks[i]
		total := w.Total()
		safe, unknown := w.Bar(barColumns)
		fmt.Fprintf(t, "%s %s%s%s %s of %s\n", t.day(w.Start), t.styled(styleGood, strings.Repeat("#", safe), 0),
			strings.Repeat("-", barColumns-safe-unknown), strings.Repeat("?", unknown), report.Percent(w.Safe, total), report.Grouped(total))
	}
	fmt.Fprintln(t, "# post-quantum or hybrid, - vulnerable, ? unknown")
}

func (t *textWriter) uses() {
	if len(t.r.Uses) == 0 {
		return
	}
	t.title("Programs and parameters")
	program := ""
	for i := range t.r.Uses {
		u := &t.r.Uses[i]
		if l := u.Label(); l != program || i == 0 {
			program = l
			text := l
			if purpose := t.purpose(u); purpose != "" {
				text += ": " + purpose
			}
			t.wrapped("", "  ", text)
		}
		text := u.Operation
		if u.Role != "" {
			text += " " + u.Role
		}
		if u.Within != "" {
			text += " in " + u.Within
		}
		t.wrapped("  ", "    ", text+" "+u.Text())
		when := fmt.Sprintf("%s, %s to %s, %s", report.Grouped(u.Count)+"x", t.at(u.First), t.at(u.Last), u.Source)
		if u.Failures > 0 {
			when += fmt.Sprintf(", %s failed", report.Grouped(u.Failures))
		}
		t.wrapped("    ", "    ", when)
		if len(u.Breaks) > 0 {
			t.wrapped("    ", "    ", "breaks "+strings.Join(u.Breaks, ", "))
		}
	}
}

func (t *textWriter) purpose(u *report.Use) string {
	for i := range t.r.Programs {
		if p := &t.r.Programs[i]; p.Executable == u.Executable && p.Unit == u.Unit {
			return p.Purpose
		}
	}
	return ""
}

func (t *textWriter) findings() {
	t.title("Findings by rule")
	if len(t.r.Findings) == 0 {
		fmt.Fprintln(t, noFindings(t.r))
	}
	for i := range t.r.Findings {
		f := &t.r.Findings[i]
		rule := t.r.Rule(f.Rule)
		style := ""
		if f.Open() {
			style = styleBad
		}
		fmt.Fprintf(t, "%s (%s)\n", t.styled(style, f.Rule, 0), f.When(rule))
		t.wrapped("  ", "  ", rule.Text)
		for j := range f.Programs {
			b := &f.Programs[j]
			accepted := ""
			if b.Accepted != nil {
				accepted = "; accepted by " + b.Accepted.AcceptedBy + " until " + t.day(b.Accepted.Until)
			}
			t.wrapped("  - ", "    ", fmt.Sprintf("%s: %s, last %s%s", b.Label(), report.Counted(b.Operations, "operation"), t.at(b.Last), accepted))
		}
		if f.UndecidableOperations > 0 {
			t.wrapped("  ? ", "    ", fmt.Sprintf("undecidable, as values were not recorded: %s of %s",
				report.Counted(f.UndecidableOperations, "operation"), report.Counted(uint64(f.UndecidablePrograms), "program")))
		}
	}
}

func (t *textWriter) exceptions() {
	if len(t.r.Exceptions) == 0 {
		return
	}
	t.title("Exceptions")
	for i := range t.r.Exceptions {
		e := &t.r.Exceptions[i]
		text := fmt.Sprintf("%s for %s until %s, accepted by %s: %s; %s.", e.Rule, e.Label(), t.day(e.Until), e.AcceptedBy, e.Why, e.Effect())
		t.wrapped("- ", "  ", text)
	}
}

func (t *textWriter) annex() {
	r := t.r
	t.title("Policy in force")
	t.wrapped("", "", cmp.Or(r.Policy, "No crypto-policy is known."))
	t.title("Annex: rules")
	for i := range r.Rules {
		rule := &r.Rules[i]
		t.wrapped("", "  ", rule.ID+": "+rule.Text)
		note := fmt.Sprintf("%s, %s", rule.Level, rule.Status)
		if !rule.Date.IsZero() {
			note += ", " + t.day(rule.Date)
		}
		if rule.Mark != "" {
			note += ", [" + rule.Mark + "]"
		}
		t.wrapped("  ", "  ", note+" "+rule.Source)
		if rule.Quote != "" {
			t.wrapped("  ", "  ", fmt.Sprintf("%q (read on %s)", rule.Quote, t.day(rule.Retrieved)))
		}
	}
	t.wrapped("", "", "[P] the text of the document was read, [S] another text about it was read, [K] known, but not read.")
	if e := r.Evidence(); e != "" {
		t.title("Annex: evidence")
		t.wrapped("", "", e)
	}
}

// columns returns the number of columns of a text.
func columns(text string) int { return len([]rune(text)) }

// pad fills a text up with blanks.
func pad(text string, n int) string {
	return text + strings.Repeat(" ", max(0, n-columns(text)))
}

// cut shortens a text that is too long.
func cut(text string, n int) string {
	runes := []rune(text)
	if len(runes) <= n {
		return text
	}
	return string(runes[:n-3]) + "..."
}
