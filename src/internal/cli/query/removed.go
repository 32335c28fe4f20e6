// SPDX-License-Identifier: Apache-2.0

package query

import (
	"math"

	"crypto-auditing/src/internal/cli/source"
)

// removed returns what to say of the entries before the oldest one of a log, of
// which v has shown what was selected: nothing if they were not asked for.
func (q *query) removed(src source.Store, v *viewer) (notes []string, err error) {
	newest, oldest, err := src.Ends()
	switch {
	case err != nil:
		return nil, err
	case newest.Store == [16]byte{}:
		return []string{"the log is empty"}, nil
	case oldest.Sequence == 0, q.lines >= 0 && v.shown >= q.lines && !q.follow:
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
