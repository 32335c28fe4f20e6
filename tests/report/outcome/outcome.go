// SPDX-License-Identifier: Apache-2.0

// Package outcome has the results of a run of tests, stores them in files, and formats the
// summary of a run.
package outcome

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
)

// Outcome is the result of a run, or of a part of one.
type Outcome struct {
	Passed  int
	Failed  []Failure
	Skipped map[string]int // by reason
}

// Failure is a test, a package or a step that failed.
type Failure struct {
	Name   string
	Reason []string // the first lines of its output
}

// maxReason is the maximum number of lines of a reason. The whole output of a test is
// printed when it fails.
const maxReason = 12

// Fail records a failure, with at most maxReason lines of its reason.
func (o *Outcome) Fail(name string, reason []string) {
	f := Failure{Name: name, Reason: reason}
	if more := len(reason) - maxReason; more > 0 {
		f.Reason = append(slices.Clone(reason[:maxReason]), fmt.Sprintf("… (%d more lines above)", more))
	}
	o.Failed = append(o.Failed, f)
}

// Skip records a skipped test.
func (o *Outcome) Skip(reason string) {
	if o.Skipped == nil {
		o.Skipped = map[string]int{}
	}
	o.Skipped[reason]++
}

// Add adds the results of another part.
func (o *Outcome) Add(other Outcome) {
	o.Passed += other.Passed
	o.Failed = append(o.Failed, other.Failed...)
	for reason, n := range other.Skipped {
		for range n {
			o.Skip(reason)
		}
	}
}

// Counts returns the last line of the summary, which scripts search for.
func (o *Outcome) Counts() string {
	skipped := 0
	for _, n := range o.Skipped {
		skipped += n
	}
	return fmt.Sprintf("%d passed, %d failed, %d skipped", o.Passed, len(o.Failed), skipped)
}

// Summary returns the failures, then the reasons of skips, then the counts.
func (o *Outcome) Summary() string {
	var b strings.Builder
	for _, f := range o.Failed {
		if len(f.Reason) == 0 {
			fmt.Fprintf(&b, "failed: %s\n", f.Name)
			continue
		}
		fmt.Fprintf(&b, "failed: %s: %s\n", f.Name, strings.TrimSpace(f.Reason[0]))
		for _, line := range f.Reason[1:] {
			fmt.Fprintf(&b, "    %s\n", line)
		}
	}
	for _, reason := range slices.Sorted(maps.Keys(o.Skipped)) {
		fmt.Fprintf(&b, "skipped %d: %s\n", o.Skipped[reason], reason)
	}
	fmt.Fprintln(&b, o.Counts())
	return b.String()
}

// Save writes the results to a file, for Load.
func (o *Outcome) Save(path string) error {
	text, err := json.MarshalIndent(o, "", "\t")
	if err != nil {
		return fmt.Errorf("cannot encode the results: %w", err)
	}
	if err := os.WriteFile(path, append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("cannot save the results: %w", err)
	}
	return nil
}

// Load reads the results in files and adds them up.
func Load(paths ...string) (sum Outcome, err error) {
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return sum, fmt.Errorf("cannot read results: %w", err)
		}
		var part Outcome
		if err := json.Unmarshal(text, &part); err != nil {
			return sum, fmt.Errorf("cannot read results in %s: %w", path, err)
		}
		sum.Add(part)
	}
	return sum, nil
}
