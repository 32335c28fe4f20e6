// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
)

// figure is one result.
type figure struct {
	name  string
	value float64
	// target is the bound: least if the value shall not be smaller, else it
	// shall not be larger. Zero: none.
	target float64
	least  bool
	// note says how it came about.
	note string
}

type figures []figure

func (f *figures) add(x figure) { *f = append(*f, x) }

func (x *figure) verdict() (target, verdict string) {
	met := x.value <= x.target
	target = "≤ " + number(x.target)
	if x.least {
		met, target = x.value >= x.target, "≥ "+number(x.target)
	}
	switch {
	case x.target == 0:
		return "", ""
	case met:
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

func number(v float64) string {
	if v >= 1000 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3g", v)
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

// quantile returns the value that a part q of all are not above.
func quantile(all []float64, q float64) float64 {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[min(int(q*float64(len(all))), len(all)-1)]
}
