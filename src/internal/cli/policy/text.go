// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bufio"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"crypto-auditing/src/internal/inventory/policycheck"
	"crypto-auditing/src/internal/inventory/report"
)

// width is the number of columns of the text.
const width = 80

// mostParameters bounds the parameters that are shown for the same findings of a program.
const mostParameters = 4

// text writes results for people.
type text struct {
	*bufio.Writer
	style style
}

func writeText(w io.Writer, r *policycheck.Report, s style) error {
	t := text{bufio.NewWriter(w), s}
	title := "Policy " + r.Policy
	if len(r.Files) != 1 || r.Files[0] != r.Policy {
		title += ", from " + strings.Join(r.Files, " and ")
	}
	t.wrapped("", "  ", title)
	for _, warning := range r.Warnings {
		t.wrapped("! ", "  ", "ignored: "+warning)
	}
	t.coverage(r)
	t.table(r)
	for _, v := range []policycheck.Verdict{policycheck.Denied, policycheck.Undecidable} {
		t.programs(r, v)
	}
	if n := r.Totals.NotCovered; n > 0 {
		fmt.Fprintln(t)
		t.wrapped("", "", report.Counted(n, "operation")+" of kinds that policies do not cover, such as signatures outside of handshakes, are not in the table.")
	}
	return t.Flush()
}

func (t *text) at(at time.Time) string { return at.In(t.style.location).Format(report.TimeLayout) }

func (t *text) bold(text string) string {
	if !t.style.color {
		return text
	}
	return "\x1b[1m" + text + "\x1b[0m"
}

// wrapped writes words in lines that begin with an indent, the first one with another.
func (t *text) wrapped(first, indent, words string) {
	line, empty := first, true
	for _, word := range report.Words(words) {
		if !empty && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			fmt.Fprintln(t, line)
			line, empty = indent, true
		}
		if !empty {
			line += " "
		}
		line, empty = line+word, false
	}
	fmt.Fprintln(t, line)
}

func (t *text) coverage(r *policycheck.Report) {
	complete := report.Completeness(&r.Coverage)
	if !complete.Empty() {
		fmt.Fprintf(t, "Recorded from %s to %s.\n", t.at(complete.From), t.at(complete.To))
	}
	for _, line := range complete.Lines() {
		t.wrapped("- ", "  ", line)
	}
}

// Columns of the table.
const (
	programColumns = 35
	countColumns   = 9
)

func (t *text) table(r *policycheck.Report) {
	fmt.Fprintln(t)
	denied, undecidable := 0, 0
	for i := range r.Programs {
		switch r.Programs[i].Verdict {
		case policycheck.Denied:
			denied++
		case policycheck.Undecidable:
			undecidable++
		}
	}
	all := report.Counted(uint64(len(r.Programs)), "program")
	switch {
	case len(r.Programs) == 0:
		fmt.Fprintln(t, t.bold("Undecidable: no operation was recorded."))
		return
	case denied > 0:
		fmt.Fprintln(t, t.bold(fmt.Sprintf("%d of %s would have to negotiate differently.", denied, all)))
	case undecidable > 0:
		fmt.Fprintln(t, t.bold(fmt.Sprintf("The policy denies nothing for certain; it cannot be decided for %d of %s.", undecidable, all)))
	default:
		fmt.Fprintln(t, t.bold("The policy allows all recorded operations that it covers."))
	}
	fmt.Fprintf(t, "\n%-*s %*s %*s %12s %s\n", programColumns, "PROGRAM", countColumns, "ALLOWED", countColumns, "DENIED", "UNDECIDABLE", "LAST DENIED")
	for i := range r.Programs {
		p := &r.Programs[i]
		if p.Verdict == policycheck.NotCovered {
			continue
		}
		last := ""
		if p.LastDenied != nil {
			last = p.LastDenied.In(t.style.location).Format(time.DateOnly)
		}
		name := label(p)
		if utf8.RuneCountInString(name) > programColumns {
			fmt.Fprintln(t, name)
			name = ""
		}
		line := fmt.Sprintf("%-*s %*s %*s %12s %s", programColumns, name, countColumns, report.Grouped(p.Allowed),
			countColumns, report.Grouped(p.Denied), report.Grouped(p.Undecidable), last)
		fmt.Fprintln(t, strings.TrimRight(line, " "))
	}
}

// group has the operations of a program with the same result.
type group struct {
	use        policycheck.Use // the first use; operations and times are of all uses
	parameters []string
}

// groups merges the uses of a program that differ only in parameters.
func groups(p *policycheck.Program, verdict policycheck.Verdict) (merged []group) {
	for i := range p.Uses {
		u := p.Uses[i]
		if u.Verdict != verdict {
			continue
		}
		at := slices.IndexFunc(merged, func(g group) bool {
			return kind(&g.use) == kind(&u) && slices.Equal(g.use.Findings, u.Findings)
		})
		if at < 0 {
			merged = append(merged, group{u, []string{u.Parameters}})
			continue
		}
		g := &merged[at]
		g.use.Operations += u.Operations
		if u.LastSeen.After(g.use.LastSeen) {
			g.use.LastSeen = u.LastSeen
		}
		if !slices.Contains(g.parameters, u.Parameters) {
			g.parameters = append(g.parameters, u.Parameters)
		}
	}
	return merged
}

func (t *text) programs(r *policycheck.Report, verdict policycheck.Verdict) {
	titled := false
	for i := range r.Programs {
		p := &r.Programs[i]
		for j, g := range groups(p, verdict) {
			if !titled {
				fmt.Fprintf(t, "\n%s\n", t.bold(strings.ToUpper(string(verdict))))
				titled = true
			}
			if j == 0 {
				fmt.Fprintln(t, t.bold(label(p)))
			}
			t.group(&g)
		}
	}
}

func (t *text) group(g *group) {
	u := &g.use
	t.wrapped("  ", "    ", fmt.Sprintf("%s: %s, last %s", kind(u), report.Counted(u.Operations, "operation"), t.at(u.LastSeen)))
	for i, p := range g.parameters {
		if i == mostParameters {
			fmt.Fprintf(t, "    and %d more\n", len(g.parameters)-i)
			break
		}
		t.wrapped("    ", "      ", p)
	}
	for i := range u.Findings {
		f := u.Findings[i]
		f.File = filepath.Base(f.File)
		t.wrapped("    - ", "      ", sentence(&f))
	}
	if u.AlsoAllowed > 0 {
		t.wrapped("    ", "    ", "Also seen with parameters that the policy allows: "+report.Counted(u.AlsoAllowed, "operation")+".")
	}
}
