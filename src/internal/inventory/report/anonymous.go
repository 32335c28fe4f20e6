// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"slices"
	"time"

	"crypto-auditing/src/internal/inventory/coverage"
	"crypto-auditing/src/internal/inventory/observed"
	"crypto-auditing/src/internal/inventory/row"
	"crypto-auditing/src/internal/inventory/rules"
)

// allPrograms is the name of all programs together.
const allPrograms = "(all programs)"

// anonymous returns observations that may be shared: uses without unit and library, with times to the hour.
// Unless executables is set, uses have no executable, and count the operations of all programs. The coverage
// has no details about programs, libraries and the log.
func anonymous(o *observed.Observed, executables bool) *observed.Observed {
	c := o.Coverage
	all := &observed.Observed{
		Weeks: o.Weeks,
		Coverage: coverage.Coverage{
			From: hour(c.From), To: hour(c.To), Lost: c.Lost, Missing: c.Missing, Sources: c.Sources,
		},
	}
	for _, d := range c.Down {
		all.Coverage.Down = append(all.Coverage.Down, coverage.Span{From: hour(d.From), To: hour(d.To), Reason: d.Reason})
	}
	all.Coverage.Programs = anonymousPrograms(c.Programs, executables)
	sums := make(map[row.Use]*row.Row)
	for i := range o.Uses {
		r := &o.Uses[i]
		key := r.Use
		key.Unit, key.Library, key.LibraryID = "", "", ""
		if !executables {
			key.Executable = allPrograms
		}
		first, last := hour(r.First), hour(r.Last)
		sum := sums[key]
		if sum == nil {
			sum = &row.Row{Start: hour(r.Start), Length: r.Length.Truncate(time.Hour), Use: key, First: first, Last: last}
			sums[key] = sum
		}
		sum.Count += r.Count
		sum.Failures += r.Failures
		sum.First, sum.Last = earlier(sum.First, first), later(sum.Last, last)
	}
	for _, sum := range sums {
		all.Uses = append(all.Uses, *sum)
	}
	slices.SortFunc(all.Uses, func(x, y row.Row) int {
		return cmp.Or(cmp.Compare(x.Executable, y.Executable), cmp.Compare(x.Operation, y.Operation), cmp.Compare(y.Count, x.Count),
			cmp.Compare(Describe(&x.Parameters), Describe(&y.Parameters)),
			cmp.Compare(x.Source, y.Source), cmp.Compare(x.Within, y.Within), cmp.Compare(x.Role, y.Role))
	})
	return all
}

func anonymousPrograms(programs []coverage.Program, executables bool) []coverage.Program {
	var list []coverage.Program
	for i := range programs {
		p := programs[i]
		p.Unit = ""
		if !executables {
			p.Executable = allPrograms
		}
		at := slices.IndexFunc(list, func(other coverage.Program) bool { return other.Executable == p.Executable })
		if at < 0 {
			list = append(list, p)
			continue
		}
		sum := &list[at]
		sum.Handshakes += p.Handshakes
		sum.KeyExchange += p.KeyExchange
		sum.Authentication += p.Authentication
		sum.Socket += p.Socket
		sum.Relays += p.Relays
	}
	return list
}

// anonymousRules returns a set of rules without the administrator's statements about programs, and without rules
// about these.
func anonymousRules(s *rules.Set) *rules.Set {
	return &rules.Set{
		Rules:    slices.DeleteFunc(slices.Clone(s.Rules), func(r *rules.Rule) bool { return r.Axis == rules.Inventory }),
		Profiles: s.Profiles,
	}
}

func hour(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC().Truncate(time.Hour)
}
