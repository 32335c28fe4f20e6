// SPDX-License-Identifier: Apache-2.0

package query

import (
	"math"

	"crypto-auditing/src/internal/cli/console"
	"crypto-auditing/src/internal/cli/query/viewer"
	"crypto-auditing/src/internal/cli/render"
	"crypto-auditing/src/internal/cli/source"
)

// explain reports why no operation was shown, unless it is obvious. trouble is the reason
// why operations are not being recorded at present, "" if none is known.
func (q *query) explain(v *viewer.Viewer, trouble string) {
	if v.Shown > 0 || q.lines == 0 || q.quiet || len(v.Gaps.Errs) > 0 {
		return
	}
	g := &v.Gaps
	g.None = true
	switch {
	case v.Passed > 0:
		g.Notes = append(g.Notes, render.Counted(v.Passed, "operation")+" left out by the options")
	case !q.selection.All(), q.shown != nil:
		g.Notes = append(g.Notes, "no operation of the log matches the options")
	case len(g.Notes) == 0:
		g.Notes = append(g.Notes, "the log holds no operations")
	}
	if trouble != "" {
		g.Notes = append(g.Notes, trouble)
	}
}

// removed returns notes about the entries before the oldest one of a log, of which v has
// shown the selection; none if the selection does not extend to them.
func (q *query) removed(src source.Store, v *viewer.Viewer) (notes []string, err error) {
	newest, oldest, err := src.Ends()
	switch {
	case q.shown != nil && q.shown.After > 0:
		return nil, err // another boot precedes it
	case err != nil:
		return nil, err
	case newest.Store == [16]byte{}:
		return []string{"the log is empty"}, nil
	case oldest.Sequence == 0, q.lines != console.AllLines && v.Shown >= int(q.lines) && !q.follow:
		return nil, nil
	}
	if q.selection.Since != math.MinInt64 {
		start, ok, err := src.Start()
		if err != nil || !ok || start <= q.selection.Since {
			return nil, err
		}
	}
	return []string{v.Removals.Sentence(oldest.Sequence, q.environment.Location)}, nil
}
