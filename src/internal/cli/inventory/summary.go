// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"crypto-auditing/src/internal/cli/console"
	"crypto-auditing/src/internal/cli/observed"
	"crypto-auditing/src/internal/cli/render"
	model "crypto-auditing/src/internal/inventory/observed"
	"crypto-auditing/src/internal/inventory/row"
)

// NewSummaryCommand returns crauctl summary.
func NewSummaryCommand(e *console.Environment) *cobra.Command {
	var o options
	var by []string
	command := &cobra.Command{
		Use:   "summary",
		Short: "Count what programs used, by the keys of your choice",
		Long: `Summary counts operations by the values of keys: those of the registry, such as
tls::group or pk::hash, and executable, unit, library, library_id, source,
operation, within and role. The scope of a key may be left out. Operations are
left out if none of the keys is about operations of their kind: by tls::group,
TLS handshakes are counted; those whose group was not recorded have a "-".
` + observed.Help,
		Example: `  crauctl summary --by tls::protocol_version,tls::group --since -30d
  crauctl summary --by executable,pk::hash,pk::algorithm
  crauctl summary --by operation,unit -o csv`,
		Args: console.NoArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			write, err := forms(writeSummary).Named(o.form)
			if err != nil {
				return err
			}
			fields, err := keysNamed(by)
			if err != nil {
				return err
			}
			all, err := observed.Load(command.Context(), e, &o.Flags)
			if err != nil {
				return err
			}
			return o.write(e, write, &listing{rows: summarize(all.Uses, fields), fields: fields, coverage: &all.Coverage})
		},
	}
	command.Flags().StringSliceVar(&by, "by", []string{"executable", "operation"}, "count by the values of the keys `KEY,…`")
	console.MustComplete(command, "by", func(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		return completeKeys(typed)
	})
	o.add(command, e, writeSummary)
	return command
}

// summarize adds up rows that agree in fields, the most frequent first. The rows of the result
// have no other fields.
func summarize(rows []row.Row, fields []key) (sums []row.Row) {
	at := make(map[row.Use]int)
	for i := range rows {
		r := &rows[i]
		if scoped, concerned := concerns(fields, r.Operation); scoped && !concerned {
			continue
		}
		var use row.Use
		for j := range fields {
			fields[j].copy(&use, &r.Use)
		}
		n, known := at[use]
		if !known {
			n = len(sums)
			at[use] = n
			sums = append(sums, row.Row{Use: use, First: r.First, Last: r.Last})
		}
		model.Join(&sums[n], r)
	}
	slices.SortFunc(sums, func(a, b row.Row) int {
		return cmp.Or(-cmp.Compare(a.Count, b.Count), a.Compare(&b.Use))
	})
	return sums
}

// concerns reports whether fields contain parameters, and whether operations of a kind can have one
// of them.
func concerns(fields []key, operation string) (scoped, concerned bool) {
	for i := range fields {
		if f := &fields[i]; f.scoped() {
			scoped = true
			concerned = concerned || f.concerns(operation)
		}
	}
	return scoped, concerned
}

func writeSummary(w io.Writer, l *listing) error {
	if _, err := io.WriteString(w, completeness(l.coverage, l.location, l.width)); err != nil || l.coverage.Empty() {
		return err
	}
	if len(l.rows) == 0 {
		_, err := fmt.Fprintln(w, "No matching operation was recorded.")
		return err
	}
	fmt.Fprintln(w)
	failures := slices.ContainsFunc(l.rows, func(r row.Row) bool { return r.Failures > 0 })
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	var heads []string
	for i := range l.fields {
		heads = append(heads, strings.ToUpper(l.fields[i].name))
	}
	count, failed := len("COUNT"), len("FAILED")
	for i := range l.rows {
		count = max(count, len(render.Grouped(l.rows[i].Count)))
		failed = max(failed, len(render.Grouped(l.rows[i].Failures)))
	}
	heads = append(heads, fmt.Sprintf("%*s", count, "COUNT"))
	if failures {
		heads = append(heads, fmt.Sprintf("%*s", failed, "FAILED"))
	}
	fmt.Fprintln(table, strings.Join(append(heads, "FIRST", "LAST"), "\t"))
	layout := l.timeLayout()
	for i := range l.rows {
		r := &l.rows[i]
		var line []string
		for j := range l.fields {
			text := "-"
			if value := l.fields[j].value(&r.Use); value != nil {
				text = l.shown(fmt.Sprint(value))
			}
			line = append(line, text)
		}
		line = append(line, fmt.Sprintf("%*s", count, render.Grouped(r.Count)))
		if failures {
			line = append(line, fmt.Sprintf("%*s", failed, render.Grouped(r.Failures)))
		}
		line = append(line, r.First.In(l.location).Format(layout), r.Last.In(l.location).Format(layout))
		fmt.Fprintln(table, strings.Join(line, "\t"))
	}
	return table.Flush()
}

// timeLayout returns the layout of times of day if all rows are of one day, else of dates.
func (l *listing) timeLayout() string {
	day := ""
	for i := range l.rows {
		for _, t := range []time.Time{l.rows[i].First, l.rows[i].Last} {
			switch d := t.In(l.location).Format(time.DateOnly); {
			case day == "":
				day = d
			case d != day:
				return time.DateOnly
			}
		}
	}
	return time.TimeOnly
}
