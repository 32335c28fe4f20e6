// SPDX-License-Identifier: Apache-2.0

package render

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"crypto-auditing/src/internal/schema"
)

// Table returns the form that counts the contexts of operations by name, algorithm and
// program, with the times of the first and the last.
func Table(asJSON bool) Form {
	return Form{Text: !asJSON, New: func(w io.Writer, o Options) Printer {
		return &table{w: w, options: o, asJSON: asJSON, rows: make(map[work]*times)}
	}}
}

type table struct {
	w       io.Writer
	options Options
	asJSON  bool
	rows    map[work]*times
	more    uint64 // contexts without a row
	notices []*Notice
}

// work is the key of a row.
type work struct{ operation, algorithm, program string }

type times struct {
	count       uint64
	first, last int64
}

func (t *table) Root(root *schema.Span, _ []Entry) error {
	results := results{registry: t.options.Registry, root: root}
	root.Walk(func(s *schema.Span) bool {
		c := t.options.Registry.Context(s.Name)
		var values []string
		for _, key := range rowKeys(c, s) {
			v, ok := s.Value(key)
			switch text, implied := "", ""; {
			case !ok && c != nil:
				if implied = c.Implied[key]; implied != "" {
					values = append(values, implied)
				}
			case !ok || !t.options.shows(key):
			case !results.has(key, s):
				return true // the value is only an offer
			default:
				if text = valueText(t.options.Registry.Key(key), &v); text != "" {
					values = append(values, text)
				}
			}
		}
		t.add(work{orNone(s.Name), strings.Join(values, " "), orNone(s.Executable)}, s)
		return true
	})
	return nil
}

func orNone(text string) string {
	if text == "" {
		return "-"
	}
	return printable([]byte(text))
}

// rowKeys returns the keys that form the algorithm of a context: the keys of its summary
// for which it has its own data, else all keys of its data that the agent did not add.
func rowKeys(c *schema.Context, s *schema.Span) (keys []string) {
	if c != nil {
		for _, key := range c.Summary {
			if c.Has(key) {
				keys = append(keys, key)
			}
		}
	}
	if keys != nil {
		return keys
	}
	for i := range s.Data {
		if key := s.Data[i].Key; key != schema.KeyName && !isAdded(key) {
			keys = append(keys, key)
		}
	}
	return keys
}

func (t *table) add(w work, s *schema.Span) {
	row := t.rows[w]
	if row == nil {
		if len(t.rows) == maxTally {
			t.more++
			return
		}
		row = &times{first: s.Start, last: s.Start}
		t.rows[w] = row
	}
	row.count++
	row.first, row.last = min(row.first, s.Start), max(row.last, s.Start)
}

// results determines in which spans of a tree the value of a key is a result.
type results struct {
	registry *schema.Registry
	root     *schema.Span
	spans    map[string]map[*schema.Span]bool
}

func (r *results) has(key string, s *schema.Span) bool {
	if r.spans[key] == nil {
		if r.spans == nil {
			r.spans = make(map[string]map[*schema.Span]bool)
		}
		spans := make(map[*schema.Span]bool)
		r.registry.WalkResults(r.root, key, func(s *schema.Span) bool {
			spans[s] = true
			return true
		})
		r.spans[key] = spans
	}
	return r.spans[key][s]
}

func (t *table) Notice(n *Notice) error {
	t.notices = append(t.notices, n)
	return nil
}

// Close writes the rows in descending order of the counts.
func (t *table) Close() error {
	rows := slices.SortedFunc(maps.Keys(t.rows), func(x, y work) int {
		return cmp.Or(cmp.Compare(t.rows[y].count, t.rows[x].count), cmp.Compare(t.rows[x].first, t.rows[y].first),
			cmp.Compare(x.operation, y.operation), cmp.Compare(x.algorithm, y.algorithm), cmp.Compare(x.program, y.program))
	})
	var err error
	if t.asJSON {
		err = t.writeJSON(rows)
	} else {
		err = t.writeText(rows)
	}
	if err == nil && t.more > 0 {
		_, err = fmt.Fprintf(t.options.Warnings, "crauctl: %s of more than %d different kinds not listed\n", Counted(t.more, "context"), maxTally)
	}
	return err
}

func (t *table) writeText(rows []work) error {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "count\toperation\talgorithm\tprogram\tfirst\tlast")
	for _, row := range rows {
		at := t.rows[row]
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\n", at.count, row.operation, orNone(row.algorithm), row.program, t.clock(at.first), t.clock(at.last))
	}
	_ = w.Flush()
	for _, n := range t.notices {
		fmt.Fprintf(&text, "— %s —\n", n.Text(t.options.Location))
	}
	out := text.String()
	if t.options.ASCII {
		out = asciiText(out)
	}
	_, err := io.WriteString(t.w, out)
	return err
}

func (t *table) clock(ns int64) string {
	return time.Unix(0, ns).In(t.options.Location).Format("15:04:05.000")
}

func (t *table) writeJSON(rows []work) error {
	e := json.NewEncoder(t.w)
	e.SetEscapeHTML(false)
	for _, row := range rows {
		at := t.rows[row]
		if err := e.Encode(struct {
			Operation string    `json:"operation"`
			Algorithm string    `json:"algorithm"`
			Program   string    `json:"program"`
			Count     uint64    `json:"count"`
			First     time.Time `json:"first"`
			Last      time.Time `json:"last"`
		}{row.operation, row.algorithm, row.program, at.count, time.Unix(0, at.first).In(t.options.Location), time.Unix(0, at.last).In(t.options.Location)}); err != nil {
			return err
		}
	}
	return nil
}
