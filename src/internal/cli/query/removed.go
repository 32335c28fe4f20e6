// SPDX-License-Identifier: Apache-2.0

package query

import (
	"math"

	"crypto-auditing/src/internal/cli/console"
	"crypto-auditing/src/internal/cli/render"
	"crypto-auditing/src/internal/cli/source"
)

// explain says why no operation was shown, unless it is obvious. trouble is what
// keeps operations from being recorded now, empty if nothing is known to.
func (q *query) explain(v *viewer, trouble string) {
	if v.shown > 0 || q.lines == 0 || q.quiet || len(v.gaps.errs) > 0 {
		return
	}
	g := &v.gaps
	g.none = true
	switch {
	case v.passed > 0:
		g.notes = append(g.notes, render.Counted(v.passed, "operation")+" left out by the options")
	case !q.selection.All():
		g.notes = append(g.notes, "no operation of the log matches the options")
	case len(g.notes) == 0:
		g.notes = append(g.notes, "the log holds no operations")
	}
	if trouble != "" {
		g.notes = append(g.notes, trouble)
	}
}

// removed returns what to say of the entries before the oldest one of a log, of
// which v has shown what was selected: nothing if they were not asked for.
func (q *query) removed(src source.Store, v *viewer) (notes []string, err error) {
	newest, oldest, err := src.Ends()
	switch {
	case err != nil:
		return nil, err
	case newest.Store == [16]byte{}:
		return []string{"the log is empty"}, nil
	case oldest.Sequence == 0, q.lines != console.AllLines && v.shown >= int(q.lines) && !q.follow:
		return nil, nil
	}
	if q.selection.Since != math.MinInt64 {
		start, ok, err := src.Start()
		if err != nil || !ok || start <= q.selection.Since {
			return nil, err
		}
	}
	return []string{v.removals.Sentence(oldest.Sequence, q.environment.Location)}, nil
}
