// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"maps"
	"slices"
	"strings"
	"time"

	"crypto-auditing/src/internal/cli/render"
	"crypto-auditing/src/internal/inventory/coverage"
)

// completeness returns sentences about how complete the rows are, in lines of at most width
// bytes.
func completeness(c *coverage.Coverage, location *time.Location, width int) string {
	at := func(t time.Time) string { return t.In(location).Format(time.DateTime) }
	sentences := []string{"Recorded from " + at(c.From) + " to " + at(c.To) + "."}
	if c.Empty() {
		sentences[0] = "Nothing was recorded in this time."
	}
	var sum time.Duration
	var libraries []string
	for _, span := range c.Down {
		if span.Library == "" {
			sum += span.To.Sub(span.From)
		} else if name := render.Visible(span.Library, true); !slices.Contains(libraries, name) {
			libraries = append(libraries, name)
		}
	}
	if sum > 0 {
		sentences = append(sentences, "Not recorded in this time: "+sum.Round(time.Second).String()+".")
	}
	if libraries != nil {
		sentences = append(sentences, "Not recorded for some of it: "+strings.Join(libraries, ", ")+".")
	}
	if len(c.Lost) > 0 {
		var lost []string
		for _, reason := range slices.Sorted(maps.Keys(c.Lost)) {
			lost = append(lost, render.Grouped(c.Lost[reason])+" ("+render.Visible(reason, true)+")")
		}
		sentences = append(sentences, "Lost events: "+strings.Join(lost, ", ")+".")
	}
	if c.Missing > 0 {
		sentences = append(sentences, "Removed or damaged before they were counted: "+render.Counted(c.Missing, "entry")+".")
	}
	return fill(strings.Fields(strings.Join(sentences, " ")), max(width, 40))
}

// fill puts words into lines of at most width bytes, unless a word is longer.
func fill(words []string, width int) string {
	var text strings.Builder
	column := 0
	for i, word := range words {
		switch {
		case i == 0:
		case column+1+len(word) <= width:
			text.WriteByte(' ')
			column++
		default:
			text.WriteByte('\n')
			column = 0
		}
		text.WriteString(word)
		column += len(word)
	}
	text.WriteByte('\n')
	return text.String()
}
