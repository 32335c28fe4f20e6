// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"text/tabwriter"
)

// figure is one result.
type figure struct {
	name  string
	value float64
	// target is the bound, of which the value shall be at most or at least as
	// much; kind says which, or that there is none.
	target float64
	kind   bound
	// note says how it came about.
	note string
}

type bound int

const (
	none bound = iota
	atMost
	atLeast
)

type figures []figure

func (f *figures) add(x figure) { *f = append(*f, x) }

func (x *figure) verdict() (target, verdict string) {
	met := true
	switch x.kind {
	case none:
		return "", ""
	case atMost:
		target, met = "≤ "+number(x.target), x.value <= x.target
	case atLeast:
		target, met = "≥ "+number(x.target), x.value >= x.target
	}
	if met {
		return target, "ok"
	}
	return target, "MISSED"
}

func (f figures) print(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "figure\tvalue\ttarget\t\thow")
	for i := range f {
		target, verdict := f[i].verdict()
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", f[i].name, number(f[i].value), target, verdict, f[i].note)
	}
	return table.Flush()
}

// number prints large numbers whole and small ones with three figures.
func number(v float64) string {
	switch a := math.Abs(v); {
	case v == math.Trunc(v), a >= 1000:
		return fmt.Sprintf("%.0f", v)
	case a >= 100:
		return fmt.Sprintf("%.1f", v)
	case a >= 10:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.3f", v)
}

// merge writes the figures into the JSON object in the file at path, beside
// what others have put there.
func (f figures) merge(path string) error {
	all := map[string]float64{}
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("cannot merge figures: %w", err)
	default:
		if err := json.Unmarshal(text, &all); err != nil {
			return fmt.Errorf("cannot merge figures into %s, which is no object of numbers (remove it): %w", path, err)
		}
	}
	for i := range f {
		all[f[i].name] = f[i].value
	}
	if text, err = json.MarshalIndent(all, "", "  "); err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("cannot write figures: %w", err)
	}
	if err := os.WriteFile(path+".tmp", append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("cannot write figures: %w", err)
	}
	return os.Rename(path+".tmp", path)
}
