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
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"crypto-auditing/tests/bench/figures"
)

// named is a result that has a name: where it comes from, and its bound.
type named struct {
	name      string
	benchmark string
	unit      string
	target    float64
	kind      figures.Bound
}

func names() []named {
	return []named{
		{"bytes_per_event_active", "BytesPerEvent/handshakes=100", "active-B/event", 10, figures.AtMost},
		{"bytes_per_event_sealed", "BytesPerEvent/handshakes=100", "sealed-B/event", 8, figures.AtMost},
		{"append_ns_per_event", "Append/io_uring", "ns/event", 1000, figures.AtMost},
		{"scan_events_per_s", "Scan/active/decoded", "events/s", 2e6, figures.AtLeast},
		{"seek_ms", "ThousandSegments/seek_time", "ms/op", 20, figures.AtMost},
		{"seek_cursor_ms", "ThousandSegments/seek_cursor", "ms/op", 20, figures.AtMost},
		{"tail_ms", "ThousandSegments/tail", "ms/op", 30, figures.AtMost},
		{"recovery_ms", "Recovery/chunks_of_a_busy_machine", "ms/op", 200, figures.AtMost},
		{"recovery_small_chunks_ms", "Recovery/chunks_of_one_group", "ms/op", 200, figures.AtMost},
	}
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench/store:", err)
		os.Exit(1)
	}
}

func run() error {
	o, err := figures.Parse("fewer repetitions, with more noise")
	if err != nil {
		return err
	}
	times := map[bool]string{true: "2x", false: "5x"}[o.Quick]
	all := results{}
	for _, part := range []struct{ pkg, times string }{
		{"./src/internal/logstore", times},
		{"./src/internal/logstore/file", map[bool]string{true: "50x", false: "500x"}[o.Quick]},
	} {
		if err := all.measure(part.pkg, part.times, o.Only); err != nil {
			return err
		}
	}
	return errors.Join(o.Report(all.figures()), all.print(os.Stdout))
}

// results are values by benchmark and unit.
type results map[string]map[string]float64

// measure runs the benchmarks of a package whose names match.
func (r results) measure(pkg, times string, only *regexp.Regexp) error {
	bench := cmp.Or(only.String(), ".")
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

// figures returns the results that have names.
func (r results) figures() (l figures.List) {
	for _, n := range names() {
		if v, ok := r[n.benchmark][n.unit]; ok {
			l = append(l, figures.Figure{Name: n.name, Value: v, Target: n.target, Kind: n.kind, Note: n.benchmark})
		}
	}
	slow, fast := r["Selective/active/unfiltered"]["ms/op"], r["Selective/active/filtered"]["ms/op"]
	if slow > 0 && fast > 0 {
		l.AtLeast("selective_speedup", slow/fast, 20, fmt.Sprintf("%.0f ms unfiltered over %.1f ms filtered", slow, fast))
	}
	return l
}

// print writes all results.
func (r results) print(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\nbenchmark\tresults")
	for _, name := range slices.Sorted(maps.Keys(r)) {
		var units []string
		for _, unit := range slices.Sorted(maps.Keys(r[name])) {
			if unit != "B/op" && unit != "allocs/op" {
				units = append(units, fmt.Sprintf("%.4g %s", r[name][unit], unit))
			}
		}
		fmt.Fprintf(table, "%s\t%s\n", name, strings.Join(units, ", "))
	}
	return table.Flush()
}
