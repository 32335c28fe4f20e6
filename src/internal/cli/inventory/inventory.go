// SPDX-License-Identifier: Apache-2.0

// Package inventory implements crauctl inventory and summary, which list and count the
// cryptography that programs used.
package inventory

import (
	"cmp"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"crypto-auditing/src/internal/cli/console"
	"crypto-auditing/src/internal/cli/observed"
	"crypto-auditing/src/internal/cli/output"
	"crypto-auditing/src/internal/cli/render"
	"crypto-auditing/src/internal/cli/terminal"
	"crypto-auditing/src/internal/inventory/coverage"
	"crypto-auditing/src/internal/inventory/row"
)

// listing is the content of a command's output.
type listing struct {
	rows     []row.Row
	fields   []key // of the rows
	coverage *coverage.Coverage
	location *time.Location
	width    int // of the terminal
	color    bool
	ascii    bool
}

// forms are the output forms of a command whose text is written by text.
func forms(text func(io.Writer, *listing) error) console.Forms[func(io.Writer, *listing) error] {
	return console.Forms[func(io.Writer, *listing) error]{
		{Name: "short", Help: "a table", Write: text},
		{Name: "json", Help: "JSON, an object per line", Write: func(w io.Writer, l *listing) error { return l.json(w, "") }},
		{Name: "json-pretty", Help: "JSON, indented", Write: func(w io.Writer, l *listing) error { return l.json(w, "  ") }},
		{Name: "csv", Help: "RFC 4180, a line per row", Write: func(w io.Writer, l *listing) error { return l.csv(w) }},
	}
}

// options are the common options of both commands.
type options struct {
	observed.Flags
	form    string
	noPager bool
}

func (o *options) add(command *cobra.Command, e *console.Environment, text func(io.Writer, *listing) error) {
	o.Add(command, e)
	forms(text).Option(command, &o.form)
	command.Flags().BoolVar(&o.noPager, "no-pager", false, "do not show the output in a pager")
}

// NewInventoryCommand returns crauctl inventory.
func NewInventoryCommand(e *console.Environment) *cobra.Command {
	var o options
	command := &cobra.Command{
		Use:   "inventory",
		Short: "List what programs used, and how often",
		Long: `Inventory lists which cryptography each program used, with the number of
operations and the time of the last: versions, cipher suites, groups and
signature schemes of TLS and SSH handshakes, algorithms and keys of public-key
operations. Names are normalised, so that values of different libraries can be
compared; crauctl query shows them as they were recorded. Only what was
recorded is listed; the first lines show how complete that is.
` + observed.Help,
		Example: `  crauctl inventory --since -30d
  crauctl inventory --executable sshd
  crauctl inventory -D /srv/log -o csv`,
		Args: console.NoArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			write, err := forms(writeInventory).Named(o.form)
			if err != nil {
				return err
			}
			all, err := observed.Load(command.Context(), e, &o.Flags)
			if err != nil {
				return err
			}
			return o.write(e, write, &listing{rows: all.Uses, fields: keys(), coverage: &all.Coverage})
		},
	}
	o.add(command, e, writeInventory)
	return command
}

// write writes a listing to standard output.
func (o *options) write(e *console.Environment, write func(io.Writer, *listing) error, l *listing) error {
	l.location = e.Location
	l.width = terminal.Width(e.Stdout)
	l.color = terminal.Is(e.Stdout) && terminal.HasColor(e.Getenv)
	l.ascii = terminal.IsASCII(e.Getenv)
	return output.Page(e, !o.noPager, func(w io.Writer) error { return write(w, l) })
}

// timeLayout is the layout of times in the table.
const timeLayout = "2006-01-02 15:04"

func writeInventory(w io.Writer, l *listing) error {
	if _, err := io.WriteString(w, completeness(l.coverage, l.location, l.width)); err != nil || l.coverage.Empty() {
		return err
	}
	if len(l.rows) == 0 {
		_, err := fmt.Fprintln(w, "No matching operation was recorded.")
		return err
	}
	counts := len("COUNT")
	for i := range l.rows {
		counts = max(counts, 1+len(render.Grouped(l.rows[i].Count)))
	}
	column := counts + 2 + len(timeLayout) + 2
	width := max(l.width-column, 40)
	if _, err := fmt.Fprintf(w, "\n%*s  %-*s  %s\n", counts, "COUNT", len(timeLayout), "LAST", "OPERATION"); err != nil {
		return err
	}
	program := ""
	rows := slices.Clone(l.rows)
	slices.SortStableFunc(rows, func(a, b row.Row) int {
		return cmp.Or(strings.Compare(a.Executable, b.Executable), strings.Compare(a.Unit, b.Unit), -cmp.Compare(a.Count, b.Count))
	})
	for i := range rows {
		r := &rows[i]
		if p := l.program(r); p != program {
			program = p
			if _, err := fmt.Fprintln(w, p); err != nil {
				return err
			}
		}
		lines := wrap(l.describe(r), width)
		if _, err := fmt.Fprintf(w, "%*s  %s  %s\n", counts, render.Grouped(r.Count), r.Last.In(l.location).Format(timeLayout), lines[0]); err != nil {
			return err
		}
		for _, line := range lines[1:] {
			if _, err := fmt.Fprintf(w, "%*s%s\n", column, "", line); err != nil {
				return err
			}
		}
	}
	return nil
}

// program returns the line above the rows of a program.
func (l *listing) program(r *row.Row) string {
	name := l.shown(r.Executable)
	if name == "" {
		name = "unknown program"
	}
	if l.color {
		name = "\x1b[1m" + name + "\x1b[0m"
	}
	if r.Unit != "" {
		name += " (" + l.shown(r.Unit) + ")"
	}
	return name
}

// json writes an object per row. Times are in seconds since the Unix epoch.
func (l *listing) json(w io.Writer, indent string) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", indent)
	for i := range l.rows {
		if err := e.Encode(l.object(&l.rows[i])); err != nil {
			return err
		}
	}
	return nil
}

func (l *listing) object(r *row.Row) map[string]any {
	object := map[string]any{
		"count": r.Count, "failures": r.Failures,
		"first": float64(r.First.UnixMicro()) / 1e6, "last": float64(r.Last.UnixMicro()) / 1e6,
	}
	for i := range l.fields {
		if value := l.fields[i].value(&r.Use); value != nil {
			object[l.fields[i].name] = value
		}
	}
	return object
}

// csv writes a table with a heading. Times are as in RFC 3339.
func (l *listing) csv(w io.Writer) error {
	table := csv.NewWriter(w)
	var line []string
	for i := range l.fields {
		line = append(line, l.fields[i].name)
	}
	if err := table.Write(append(line, "count", "failures", "first", "last")); err != nil {
		return err
	}
	for i := range l.rows {
		r := &l.rows[i]
		line = line[:0]
		for i := range l.fields {
			text := ""
			if value := l.fields[i].value(&r.Use); value != nil {
				text = render.Cell(fmt.Sprint(value))
			}
			line = append(line, text)
		}
		line = append(line, strconv.FormatUint(r.Count, 10), strconv.FormatUint(r.Failures, 10),
			r.First.In(l.location).Format(time.RFC3339Nano), r.Last.In(l.location).Format(time.RFC3339Nano))
		if err := table.Write(line); err != nil {
			return err
		}
	}
	table.Flush()
	return table.Error()
}
