// SPDX-License-Identifier: Apache-2.0

// Command store measures the log store: it runs the benchmarks of
// src/internal/logstore, prints a table and merges the figures that have names
// into build/bench.json.
//
// It runs at the root of the source tree:
//
//	go run ./tests/bench/store [--quick] [--only REGEXP] [--output FILE]
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"text/tabwriter"
)

// figure is a result that has a name, and where it comes from.
type figure struct {
	name      string
	benchmark string
	unit      string
	// target is the bound: least if the value shall not be smaller, else the
	// value shall not be larger. Zero: none.
	target float64
	least  bool
}

func figures() []figure {
	return []figure{
		{name: "bytes_per_event_active", benchmark: "BytesPerEvent/handshakes=100", unit: "active-B/event", target: 10},
		{name: "bytes_per_event_sealed", benchmark: "BytesPerEvent/handshakes=100", unit: "sealed-B/event", target: 8},
		{name: "append_ns_per_event", benchmark: "Append/io_uring", unit: "ns/event", target: 1000},
		{name: "scan_events_per_s", benchmark: "Scan/active/decoded", unit: "events/s", target: 2e6, least: true},
		{name: "seek_ms", benchmark: "ThousandSegments/seek_time", unit: "ms/op", target: 20},
		{name: "seek_cursor_ms", benchmark: "ThousandSegments/seek_cursor", unit: "ms/op", target: 20},
		{name: "tail_ms", benchmark: "ThousandSegments/tail", unit: "ms/op", target: 30},
		{name: "recovery_ms", benchmark: "Recovery/chunks_of_a_busy_machine", unit: "ms/op", target: 200},
		{name: "recovery_small_chunks_ms", benchmark: "Recovery/chunks_of_one_group", unit: "ms/op", target: 200},
	}
}

// speedup is a quotient of two results.
const (
	speedupName   = "selective_speedup"
	speedupTarget = 20
)

func main() {
	quick := flag.Bool("quick", false, "fewer repetitions, with more noise")
	only := flag.String("only", ".", "run only benchmarks whose name matches `REGEXP`")
	output := flag.String("output", "build/bench.json", "merge the figures into `FILE`")
	flag.Parse()
	if err := run(*quick, *only, *output); err != nil {
		fmt.Fprintln(os.Stderr, "bench/store:", err)
		os.Exit(1)
	}
}

func run(quick bool, only, output string) error {
	pattern, err := regexp.Compile(only)
	if err != nil {
		return fmt.Errorf("cannot understand --only: %w", err)
	}
	times := map[bool]string{true: "2x", false: "5x"}[quick]
	all := results{}
	for _, part := range []struct{ pkg, bench, times string }{
		{"./src/internal/logstore", ".", times},
		{"./src/internal/logstore/file", ".", map[bool]string{true: "50x", false: "500x"}[quick]},
	} {
		if err := all.measure(part.pkg, part.bench, part.times, pattern); err != nil {
			return err
		}
	}
	return report(all, output)
}

// results are values by benchmark and unit.
type results map[string]map[string]float64

// measure runs the benchmarks of a package.
func (r results) measure(pkg, bench, times string, only *regexp.Regexp) error {
	if only.String() != "." {
		bench = only.String()
	}
	command := exec.Command("go", "test", "-run", "^$", "-bench", bench, "-benchtime", times, "-timeout", "30m", pkg)
	command.Stderr = os.Stderr
	out, err := command.StdoutPipe()
	if err != nil {
		return err
	}
	if err := command.Start(); err != nil {
		return fmt.Errorf("cannot run benchmarks: %w", err)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		r.line(lines.Text())
	}
	if err := command.Wait(); err != nil {
		return fmt.Errorf("cannot run benchmarks of %s: %w", pkg, err)
	}
	return nil
}

var suffix = regexp.MustCompile(`-[0-9]+$`)

// line takes a line as go test prints it: name, repetitions, then pairs of
// value and unit.
func (r results) line(text string) {
	f := strings.Fields(text)
	if len(f) < 4 || !strings.HasPrefix(f[0], "Benchmark") {
		return
	}
	name := suffix.ReplaceAllString(strings.TrimPrefix(f[0], "Benchmark"), "")
	fmt.Fprintln(os.Stderr, "measured", name)
	r[name] = map[string]float64{}
	for i := 2; i+1 < len(f); i += 2 {
		if v, err := strconv.ParseFloat(f[i], 64); err == nil {
			r[name][f[i+1]] = v
		}
	}
}

func report(all results, output string) error {
	named := map[string]float64{}
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\nfigure\tvalue\ttarget\t")
	for _, f := range figures() {
		if v, ok := all[f.benchmark][f.unit]; ok {
			named[f.name] = v
			row(table, f.name, v, f.target, f.least)
		}
	}
	slow, fast := all["Selective/active/unfiltered"]["ms/op"], all["Selective/active/filtered"]["ms/op"]
	if slow > 0 && fast > 0 {
		named[speedupName] = slow / fast
		row(table, speedupName, slow/fast, speedupTarget, true)
	}
	names := make([]string, 0, len(all))
	for name := range all {
		names = append(names, name)
	}
	sort.Strings(names)
	fmt.Fprintln(table, "\nbenchmark\tresults")
	for _, name := range names {
		units := make([]string, 0, len(all[name]))
		for unit, v := range all[name] {
			if unit != "B/op" && unit != "allocs/op" {
				units = append(units, fmt.Sprintf("%.4g %s", v, unit))
			}
		}
		sort.Strings(units)
		fmt.Fprintf(table, "%s\t%s\n", name, strings.Join(units, ", "))
	}
	return errors.Join(table.Flush(), merge(output, named))
}

func row(table io.Writer, name string, v, target float64, least bool) {
	sign, met := "≤", v <= target
	if least {
		sign, met = "≥", v >= target
	}
	verdict := map[bool]string{true: "ok", false: "MISSED"}[met]
	fmt.Fprintf(table, "%s\t%.4g\t%s %g\t%s\n", name, v, sign, target, verdict)
}

// merge writes the figures into the JSON object in the file, beside what
// others have put there.
func merge(path string, named map[string]float64) error {
	all := map[string]float64{}
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, &all)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot merge figures into %s: %w", path, err)
	}
	for name, v := range named {
		all[name] = v
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
