// SPDX-License-Identifier: Apache-2.0

// Package figures holds results against their targets, prints them as a table
// and merges them into one file with those of other programs.
package figures

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

// Figure is one result.
type Figure struct {
	Name  string
	Value float64
	// Target is the bound, of which the value shall be at most or at least as
	// much; Kind says which, or that there is none.
	Target float64
	Kind   Bound
	// Note says how it came about.
	Note string
}

// Bound says on which side of its target a value shall be.
type Bound int

// The bounds.
const (
	None Bound = iota
	AtMost
	AtLeast
)

// List is the figures of one program.
type List []Figure

// Add appends a figure that has no target.
func (f *List) Add(name string, value float64, note string) {
	*f = append(*f, Figure{Name: name, Value: value, Note: note})
}

// AtMost appends a figure that shall be at most its target.
func (f *List) AtMost(name string, value, target float64, note string) {
	*f = append(*f, Figure{Name: name, Value: value, Target: target, Kind: AtMost, Note: note})
}

// AtLeast appends a figure that shall be at least its target.
func (f *List) AtLeast(name string, value, target float64, note string) {
	*f = append(*f, Figure{Name: name, Value: value, Target: target, Kind: AtLeast, Note: note})
}

func (x *Figure) verdict() (target, verdict string) {
	met := true
	switch x.Kind {
	case None:
		return "", ""
	case AtMost:
		target, met = "≤ "+Number(x.Target), x.Value <= x.Target
	case AtLeast:
		target, met = "≥ "+Number(x.Target), x.Value >= x.Target
	}
	if met {
		return target, "ok"
	}
	return target, "MISSED"
}

// Print writes the table.
func (f List) Print(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "figure\tvalue\ttarget\t\thow")
	for i := range f {
		target, verdict := f[i].verdict()
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", f[i].Name, Number(f[i].Value), target, verdict, f[i].Note)
	}
	return table.Flush()
}

// Number prints large numbers whole and small ones with three figures.
func Number(v float64) string {
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

// Merge writes the figures into the JSON object in the file at path, beside
// what others have put there.
func (f List) Merge(path string) error {
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
		all[f[i].Name] = f[i].Value
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
