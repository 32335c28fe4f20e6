// SPDX-License-Identifier: Apache-2.0

package observed

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"crypto-auditing/src/internal/inventory/coverage"
	"crypto-auditing/src/internal/inventory/row"
)

// Sum adds up rows to the observations of a period. It is for use by one goroutine.
type Sum struct {
	uses  map[row.Use]*row.Row
	weeks map[weekly]*row.Row
}

// weekly is a week, by the time of its start in seconds since the Unix epoch, with its parameters.
type weekly struct {
	start int64
	use   row.Use
}

// NewSum returns a Sum without rows.
func NewSum() *Sum { return &Sum{uses: make(map[row.Use]*row.Row), weeks: make(map[weekly]*row.Row)} }

// Add adds a row of an hour, a day or a week.
func (s *Sum) Add(r *row.Row) {
	s.AddUse(r)
	if r.IsHandshake() {
		s.AddWeek(r)
	}
}

// AddUse adds a row of any period to the uses only.
func (s *Sum) AddUse(r *row.Row) {
	if to := s.uses[r.Use]; to != nil {
		Join(to, r)
		return
	}
	first := *r
	s.uses[r.Use] = &first
}

// AddWeek adds a row of handshakes to the weeks only.
func (s *Sum) AddWeek(r *row.Row) {
	w := weekly{start: Week(r.Start).Unix(), use: WeekUse(&r.Use)}
	if to := s.weeks[w]; to != nil {
		Join(to, r)
		return
	}
	first := *r
	first.Use = w.use
	first.Start, first.Length = time.Unix(w.start, 0).UTC(), 7*24*time.Hour
	s.weeks[w] = &first
}

// WeekUse returns the part of a use that weeks distinguish.
func WeekUse(u *row.Use) row.Use {
	return row.Use{Operation: u.Operation, Parameters: row.Parameters{Version: u.Version, Suite: u.Suite, Group: u.Group, Kex: u.Kex}}
}

// Join adds the counts of a row to another row.
func Join(to, r *row.Row) {
	to.Count += r.Count
	to.Failures += r.Failures
	to.Relays += r.Relays
	if r.First.Before(to.First) {
		to.First = r.First
	}
	if r.Last.After(to.Last) {
		to.Last = r.Last
	}
}

// Week returns the Monday with which the week of a time begins, in UTC.
func Week(t time.Time) time.Time {
	t = t.UTC()
	days := (int(t.Weekday()) + 6) % 7 // since Monday
	return time.Date(t.Year(), t.Month(), t.Day()-days, 0, 0, 0, 0, time.UTC)
}

// Observed returns the sums of a period. Its coverage only has the programs, and the libraries with
// operations. The rows are not used further.
func (s *Sum) Observed(from, to time.Time) *Observed {
	o := &Observed{Coverage: coverage.Coverage{From: from, To: to}}
	for _, r := range s.uses {
		r.Start, r.Length = from, to.Sub(from)
		o.Uses = append(o.Uses, *r)
	}
	order := row.Order()
	slices.SortFunc(o.Uses, func(x, y row.Row) int { return order(&x.Use, &y.Use) })
	for _, r := range s.weeks {
		o.Weeks = append(o.Weeks, *r)
	}
	slices.SortFunc(o.Weeks, func(x, y row.Row) int { return cmp.Or(x.Start.Compare(y.Start), order(&x.Use, &y.Use)) })
	o.Coverage.Programs, o.Coverage.Libraries = programs(o.Uses), libraries(o.Uses)
	return o
}

// socketSource is the source of handshakes that no library reported.
const socketSource = "wire"

// programs returns the coverage of each program.
func programs(uses []row.Row) []coverage.Program {
	type name struct{ executable, unit string }
	all := map[name]*coverage.Program{}
	for i := range uses {
		r := &uses[i]
		key := name{r.Executable, r.Unit}
		p := all[key]
		if p == nil {
			p = &coverage.Program{Executable: r.Executable, Unit: r.Unit}
			all[key] = p
		}
		if !r.IsHandshake() {
			continue
		}
		p.Handshakes += r.Count
		p.Relays += r.Relays
		if r.Operation == row.TLSHandshake && r.Source == socketSource {
			p.Socket += r.Count
		}
		if r.Group != "" || r.Kex != "" {
			p.KeyExchange += r.Count
		}
		if r.Signature != "" || r.PeerSignature != "" || r.HostKey != "" {
			p.Authentication += r.Count
		}
	}
	list := make([]coverage.Program, 0, len(all))
	for _, p := range all {
		list = append(list, *p)
	}
	slices.SortFunc(list, func(x, y coverage.Program) int {
		return cmp.Or(cmp.Compare(x.Executable, y.Executable), cmp.Compare(x.Unit, y.Unit))
	})
	return list
}

// libraries returns the libraries that reported operations.
func libraries(uses []row.Row) []coverage.Library {
	type name struct{ id, name string }
	all := map[name]uint64{}
	for i := range uses {
		if r := &uses[i]; r.LibraryID != "" || r.Library != "" {
			all[name{r.LibraryID, r.Library}] += r.Count
		}
	}
	list := make([]coverage.Library, 0, len(all))
	for _, n := range slices.SortedFunc(maps.Keys(all), func(x, y name) int {
		return cmp.Or(cmp.Compare(x.name, y.name), cmp.Compare(x.id, y.id))
	}) {
		list = append(list, coverage.Library{ID: n.id, Name: n.name, Operations: all[n]})
	}
	return list
}
