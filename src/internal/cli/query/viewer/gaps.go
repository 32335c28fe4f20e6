// SPDX-License-Identifier: Apache-2.0

package viewer

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"crypto-auditing/src/internal/cli/console"
	"crypto-auditing/src/internal/cli/source"
)

// Gaps collects the unreadable parts of a log. They are reported after the readable parts
// were shown.
type Gaps struct {
	None    bool     // nothing was shown
	Notes   []string // about missing parts that are not failures
	Errs    []error
	omitted int
	Failed  bool // a failure was already reported
}

// maxGaps bounds the listed gaps.
const maxGaps = 20

// Add adds a gap after the others.
func (g *Gaps) Add(gap *source.GapError) {
	switch {
	case len(g.Notes)+len(g.Errs) >= maxGaps:
		g.omitted++
		if !gap.Harmless && len(g.Errs) == 0 {
			g.Errs = append(g.Errs, gap)
		}
	case gap.Harmless:
		g.Notes = append(g.Notes, gap.Error())
	default:
		g.Errs = append(g.Errs, gap)
	}
}

// Prepend adds the gaps of a part of the log that precedes the part of g. A skipped file is
// found in each part of the log.
func (g *Gaps) Prepend(before *Gaps) {
	for _, err := range before.Errs {
		g.Errs = slices.DeleteFunc(g.Errs, func(e error) bool {
			var gap *source.GapError
			return errors.As(e, &gap) && gap.Missing.Entries == 0 && e.Error() == err.Error()
		})
	}
	g.Notes, g.Errs = append(before.Notes, g.Notes...), append(before.Errs, g.Errs...)
	g.omitted += before.omitted
	for len(g.Notes)+len(g.Errs) > maxGaps {
		g.omitted++
		if n := len(g.Notes); n > 0 {
			g.Notes = g.Notes[:n-1]
		} else {
			g.Errs = g.Errs[:len(g.Errs)-1]
		}
	}
}

// Report reports the gaps; the error is their failure.
func (g *Gaps) Report(w io.Writer) error {
	if g.None {
		fmt.Fprintln(w, "-- No operations --")
	}
	for _, note := range g.Notes {
		fmt.Fprintln(w, "crauctl:", note)
	}
	if len(g.Errs) == 0 {
		if g.Failed {
			return console.ErrReported
		}
		return nil
	}
	for _, err := range g.Errs[:len(g.Errs)-1] {
		fmt.Fprintln(w, "crauctl:", err)
	}
	if g.omitted > 0 {
		fmt.Fprintf(w, "crauctl: %d more places of the log could not be read\n", g.omitted)
	}
	return g.Errs[len(g.Errs)-1]
}
