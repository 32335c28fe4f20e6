// SPDX-License-Identifier: Apache-2.0

// Package figures compares results with their targets, prints them as a table and merges
// them into a file with the results of other programs.
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
	"slices"
	"strings"
	"text/tabwriter"
)

// Figure is one result.
type Figure struct {
	Name  string
	Value float64
	// Target is an upper or a lower bound of the value, or unused, by Kind.
	Target float64
	Kind   Bound
	// Note explains the figure.
	Note string
	// Others is the share of the processors that other programs used during the measurement.
	Others float64
}

// noisy is the highest share of Others that does not disturb a measurement.
const noisy = 0.1

// Bound is the kind of a target.
type Bound int

// The kinds of targets.
const (
	None Bound = iota
	AtMost
	AtLeast
)

// List has the figures of one program.
type List []Figure

// Add appends a figure without a target.
func (f *List) Add(name string, value float64, note string) {
	*f = append(*f, Figure{Name: name, Value: value, Note: note})
}

// AtMost appends a figure whose target is an upper bound.
func (f *List) AtMost(name string, value, target float64, note string) {
	*f = append(*f, Figure{Name: name, Value: value, Target: target, Kind: AtMost, Note: note})
}

// AtLeast appends a figure whose target is a lower bound.
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

// Print writes the table and a summary.
func (f List) Print(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "figure\tvalue\ttarget\t\tothers\thow")
	var met int
	var missed, disturbed []string
	for i := range f {
		target, verdict := f[i].verdict()
		switch verdict {
		case "ok":
			met++
		case "MISSED":
			missed = append(missed, f[i].Name)
		}
		if f[i].Others > noisy {
			disturbed = append(disturbed, f[i].Name)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%.0f %%\t%s\n", f[i].Name, Number(f[i].Value), target, verdict, 100*f[i].Others, f[i].Note)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "\n%d figures: %d targets met, %d missed", len(f), met, len(missed))
	if len(missed) > 0 {
		fmt.Fprintf(w, " (%s)", strings.Join(missed, ", "))
	}
	fmt.Fprintln(w, ".")
	if len(disturbed) > 0 {
		fmt.Fprintf(w, "The machine is NOISY: other programs used more than %.0f %% of its processors during %d figures (column others). "+
			"Only their ratios are meaningful; measure the other figures again on an idle machine.\n", 100*noisy, len(disturbed))
	}
	return nil
}

// Number formats a number with at most three decimals; from 1000 on, and for whole numbers,
// without any.
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

// Merge writes the figures into the JSON object in the file at path and keeps the figures
// of other programs there.
func (f List) Merge(path string) error {
	all := map[string]float64{}
	if err := read(path, &all); err != nil {
		return fmt.Errorf("cannot merge figures into %s (remove the file if it is not an object of numbers): %w", path, err)
	}
	for i := range f {
		all[f[i].Name] = f[i].Value
	}
	return write(path, all)
}

// tableFile returns the file for complete figures, next to the file for their values.
func tableFile(path string) string { return strings.TrimSuffix(path, ".json") + "-table.json" }

// saveTable stores the figures for All, and keeps the figures of other programs.
func (f List) saveTable(path string) error {
	all, err := All(path)
	if err != nil {
		return err
	}
	for i := range f {
		all = slices.DeleteFunc(all, func(old Figure) bool { return old.Name == f[i].Name })
	}
	return write(tableFile(path), append(all, f...))
}

// All returns the figures that programs with the same output reported.
func All(path string) (f List, err error) {
	if err := read(tableFile(path), &f); err != nil {
		return nil, fmt.Errorf("cannot read the figures in %s (remove it): %w", tableFile(path), err)
	}
	return f, nil
}

// read decodes a JSON file. A missing file is not an error.
func read(path string, to any) error {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(text, to)
}

func write(path string, from any) error {
	text, err := json.MarshalIndent(from, "", "  ")
	if err != nil {
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
