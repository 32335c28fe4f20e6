// SPDX-License-Identifier: Apache-2.0

package form

import (
	"bufio"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strings"
	"sync"
	"time"

	"crypto-auditing/src/internal/inventory/report"
	"crypto-auditing/src/internal/inventory/rules"
)

//go:embed report.html.tmpl
var pageFile string

// page is the template of the HTML form.
//
//nolint:gochecknoglobals // a constant except for its type, and parsed only once
var page = sync.OnceValues(func() (*template.Template, error) {
	return template.New("report").Funcs(template.FuncMap{
		"at":      func(t time.Time) string { return t.UTC().Format(report.TimeLayout) },
		"day":     func(t time.Time) string { return t.UTC().Format(time.DateOnly) },
		"axis":    axisTitle,
		"grouped": report.Grouped,
		"percent": report.Percent,
		"join":    func(list []string) string { return strings.Join(list, ", ") },
		"class":   func(text any) string { return strings.ReplaceAll(fmt.Sprint(text), " ", "-") },
		"broken":  brokenRules, "outcomes": outcomes,
		"counted": func(n int, noun string) string { return report.Counted(uint64(n), noun) },
		"chart":   newChart,
	}).Parse(pageFile)
})

// HTML writes a report as a self-contained page, for screen and paper.
func HTML(w io.Writer, r *report.Report) error {
	t, err := page()
	if err != nil {
		return err
	}
	out := bufio.NewWriter(w)
	if err := t.Execute(out, htmlPage{r}); err != nil {
		return err
	}
	return out.Flush()
}

// outcomes returns the numbers of operations that a verdict is based on.
func outcomes(v report.AxisVerdict) string {
	var parts []string
	for _, p := range []struct {
		n       uint64
		outcome string
	}{{v.Yes, "yes"}, {v.No, "no"}, {v.Undecided, "unknown"}} {
		if p.n > 0 {
			parts = append(parts, report.Grouped(p.n)+" "+p.outcome)
		}
	}
	if parts == nil {
		return "no such operation"
	}
	return strings.Join(parts, ", ")
}

// htmlPage is the data of the template.
type htmlPage struct{ *report.Report }

// Axes are the axes in the order of verdicts.
func (p htmlPage) Axes() []rules.Axis { return rules.Axes() }

// NoFindings is the text of a report without findings.
func (p htmlPage) NoFindings() string { return noFindings(p.Report) }

// UsesByProgram are the uses in groups.
func (p htmlPage) UsesByProgram() (groups []useGroup) {
	for i := range p.Uses {
		u := &p.Uses[i]
		if n := len(groups); n == 0 || groups[n-1].Label != u.Label() {
			groups = append(groups, useGroup{Label: u.Label()})
		}
		g := &groups[len(groups)-1]
		g.Uses = append(g.Uses, u)
	}
	return groups
}

type useGroup struct {
	Label string
	Uses  []*report.Use
}

// chart is the post-quantum share by week as bars, in units of an SVG of Width × Height.
type chart struct {
	Width, Height int
	Bars          []bar
}

type bar struct {
	X, Width                      int
	SafeY, SafeHeight             int
	VulnerableY, VulnerableHeight int
	UnknownY, UnknownHeight       int
	Label, Title                  string
}

func newChart(weeks []report.Week) chart {
	const (
		height, gap = 120, 6
		mostWeeks   = 54 // a year on a page
		labels      = 26
	)
	barWidth := 36
	weeks = weeks[max(0, len(weeks)-mostWeeks):]
	if len(weeks) > labels {
		barWidth /= 2
	}
	c := chart{Width: max(1, len(weeks)) * (barWidth + gap), Height: height}
	each := len(weeks)/labels + 1
	for i := range weeks {
		w := &weeks[i]
		safe, unknown := w.Bar(height)
		vulnerable := height - safe - unknown
		if w.Total() == 0 {
			vulnerable = 0
		}
		b := bar{
			X: i * (barWidth + gap), Width: barWidth,
			SafeY: height - safe, SafeHeight: safe,
			UnknownY: height - safe - unknown, UnknownHeight: unknown,
			VulnerableY: height - safe - unknown - vulnerable, VulnerableHeight: vulnerable,
			Title: fmt.Sprintf("%s: %s of %s post-quantum, %s vulnerable, %s unknown", w.Start.Format(time.DateOnly),
				report.Grouped(w.Safe), report.Counted(w.Total(), "handshake"), report.Grouped(w.Vulnerable), report.Grouped(w.Unknown)),
		}
		if i%each == 0 {
			b.Label = w.Start.Format("01-02")
		}
		c.Bars = append(c.Bars, b)
	}
	return c
}
