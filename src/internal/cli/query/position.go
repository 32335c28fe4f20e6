// SPDX-License-Identifier: Apache-2.0

package query

import (
	"crypto-auditing/src/internal/cli/progress"
	"crypto-auditing/src/internal/cli/source"
)

// progressUnit is what the progress of the query is counted in.
func (q *query) progressUnit() progress.Unit {
	if len(q.files) > 0 {
		return progress.Bytes
	}
	return progress.Entries
}

// progressOf returns what notes how far a source has been read that is read to
// its end.
func (q *query) progressOf(src source.Source) func() {
	if q.meter == nil {
		return func() {}
	}
	switch s := src.(type) {
	case source.Store:
		newest, oldest, err := s.Ends()
		if err != nil {
			return func() {} // reading reports it
		}
		begin := uint64(0)
		return func() {
			at := s.Sequence()
			if begin == 0 {
				begin = max(at, oldest.Sequence)
			}
			q.meter.Set(int64(max(at, begin)-begin), int64(max(newest.Sequence, begin)-begin))
		}
	case source.Sized:
		return func() { q.meter.Set(s.Progress()) }
	}
	return func() {}
}
