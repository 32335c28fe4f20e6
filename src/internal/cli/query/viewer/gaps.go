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

// Gaps collects what could not be read. It is told when all that could be is
// shown.
type Gaps struct {
	None   bool     // nothing was shown
	Notes  []string // of what is missing and no failure
	Errs   []error
	unsaid int
	Failed bool // something was told already
}

// maxGaps bounds the list of what could not be read.
const maxGaps = 20

// Add adds what could not be read after the rest.
func (g *Gaps) Add(gap *source.GapError) {
	switch {
	case len(g.Notes)+len(g.Errs) >= maxGaps:
		g.unsaid++
		if !gap.Harmless && len(g.Errs) == 0 {
			g.Errs = append(g.Errs, gap)
		}
	case gap.Harmless:
		g.Notes = append(g.Notes, gap.Error())
	default:
		g.Errs = append(g.Errs, gap)
	}
}

// Prepend adds what could not be read before that of g. A file that is passed
// over is met in each part of the log.
func (g *Gaps) Prepend(before *Gaps) {
	for _, err := range before.Errs {
		g.Errs = slices.DeleteFunc(g.Errs, func(e error) bool {
			var gap *source.GapError
			return errors.As(e, &gap) && gap.Missing.Entries == 0 && e.Error() == err.Error()
		})
	}
	g.Notes, g.Errs = append(before.Notes, g.Notes...), append(before.Errs, g.Errs...)
	g.unsaid += before.unsaid
	for len(g.Notes)+len(g.Errs) > maxGaps {
		g.unsaid++
		if n := len(g.Notes); n > 0 {
			g.Notes = g.Notes[:n-1]
		} else {
			g.Errs = g.Errs[:len(g.Errs)-1]
		}
	}
}

// Report tells what is missing; the error is what makes it a failure.
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
	if g.unsaid > 0 {
		fmt.Fprintf(w, "crauctl: %d more places of the log could not be read\n", g.unsaid)
	}
	return g.Errs[len(g.Errs)-1]
}
