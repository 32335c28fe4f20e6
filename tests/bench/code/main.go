// SPDX-License-Identifier: Apache-2.0

// Command code measures parts of the code by their Go benchmarks: the log store, the
// parsers of handshakes, the decoder of layouts, and reports. It prints a table and merges
// the figures into build/bench.json.
//
// It runs at the root of the source tree:
//
//	go run ./tests/bench/code [--quick] [--only REGEXP] [--output FILE]
package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"

	"crypto-auditing/tests/bench/figures"
)

// part is a set of benchmarks of one package.
type part struct {
	pkg string
	// times is the -benchtime of each benchmark, and count the number of runs; the lowest
	// result counts.
	times, quickTimes string
	count             int
	results           []result
}

// result is a figure that a benchmark reports.
type result struct {
	name string
	// benchmark and unit are as go test prints them.
	benchmark string
	unit      string
	scale     float64
	target    float64
	kind      figures.Bound
	// over is another benchmark, whose value is divided by this one's.
	over string
}

func parts() []part {
	return []part{
		{"./src/internal/wire", "50000x", "20000x", 5, []result{
			{"wire_parser_us_tls13", "Handshake/X25519/operation", "ns/op", 1e-3, 2, figures.AtMost, ""},
			{"wire_parser_us_pq", "Handshake/X25519MLKEM768/operation", "ns/op", 1e-3, 6, figures.AtMost, ""},
		}},
		{"./src/internal/layout/decoder", "20x", "10x", 5, []result{
			{"layout_ms", "Parse/libcrypto.so.3", "ns/op", 1e-6, 10, figures.AtMost, ""},
			{"layout_libssl_ms", "Parse/libssl.so.3", "ns/op", 1e-6, 10, figures.AtMost, ""},
			{"layout_gnutls_ms", "Parse/libgnutls.so.30", "ns/op", 1e-6, 10, figures.AtMost, ""},
		}},
		{"./src/internal/inventory", "5x", "2x", 3, []result{
			{"report_ms", "Report/report", "ns/op", 1e-6, 1000, figures.AtMost, ""},
			{"report_vs_sql", "Report/sql", "ns/op", 1, 3, figures.AtMost, "Report/report"},
		}},
		{"./src/internal/logstore", "5x", "2x", 1, []result{
			{"bytes_per_event_active", "BytesPerEvent/handshakes=100", "active-B/event", 1, 10, figures.AtMost, ""},
			{"bytes_per_event_sealed", "BytesPerEvent/handshakes=100", "sealed-B/event", 1, 8, figures.AtMost, ""},
			{"append_ns_per_event", "Append/io_uring", "ns/event", 1, 1000, figures.AtMost, ""},
			{"scan_events_per_s", "Scan/active/decoded", "events/s", 1, 2e6, figures.AtLeast, ""},
			{"seek_ms", "ThousandSegments/seek_time", "ms/op", 1, 20, figures.AtMost, ""},
			{"seek_cursor_ms", "ThousandSegments/seek_cursor", "ms/op", 1, 20, figures.AtMost, ""},
			{"tail_ms", "ThousandSegments/tail", "ms/op", 1, 30, figures.AtMost, ""},
			{"recovery_ms", "Recovery/chunks_of_a_busy_machine", "ms/op", 1, 200, figures.AtMost, ""},
			{"recovery_small_chunks_ms", "Recovery/chunks_of_one_group", "ms/op", 1, 200, figures.AtMost, ""},
			{"selective_speedup", "Selective/active/filtered", "ms/op", 1, 20, figures.AtLeast, "Selective/active/unfiltered"},
		}},
	}
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench/code:", err)
		os.Exit(1)
	}
}

func run() error {
	o, err := figures.Parse("fewer repetitions, with more noise")
	if err != nil {
		return err
	}
	var list figures.List
	var measurements []figures.Measurement
	for _, p := range parts() {
		var names []string
		var wanted []result
		for _, r := range p.results {
			if o.Only.MatchString(r.name) {
				names, wanted = append(names, r.name), append(wanted, r)
			}
		}
		if p.results = wanted; len(wanted) == 0 {
			continue
		}
		if o.Quick {
			p.times = p.quickTimes
		}
		measurements = append(measurements, figures.Measurement{Names: strings.Join(names, " "), Run: func() error {
			l, err := p.measure()
			list = append(list, l...)
			return err
		}})
	}
	return errors.Join(o.Measure(measurements, &list), o.Report(list))
}

// pattern returns the -bench pattern that selects the part's benchmarks.
func (p *part) pattern() string {
	var all []string
	for _, r := range p.results {
		for _, benchmark := range []string{r.benchmark, r.over} {
			if benchmark == "" {
				continue
			}
			var levels []string
			for level := range strings.SplitSeq("Benchmark"+benchmark, "/") {
				levels = append(levels, "^"+regexp.QuoteMeta(level)+"$")
			}
			all = append(all, strings.Join(levels, "/"))
		}
	}
	return strings.Join(all, "|")
}

func (p *part) measure() (l figures.List, err error) {
	command := exec.Command("go", "test", "-run", "^$", "-bench", p.pattern(), "-benchtime", p.times,
		"-count", strconv.Itoa(p.count), "-timeout", "30m", p.pkg)
	command.Stderr = os.Stderr
	out, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("cannot run benchmarks: %w", err)
	}
	got := values{}
	var output strings.Builder
	for lines := bufio.NewScanner(out); lines.Scan(); {
		fmt.Fprintln(&output, lines.Text())
		got.line(lines.Text())
	}
	if err := command.Wait(); err != nil {
		return nil, fmt.Errorf("cannot run benchmarks of %s: %w\n%s", p.pkg, err, output.String())
	}
	for _, r := range p.results {
		value, err := got.lowest(r.benchmark, r.unit)
		note := fmt.Sprintf("Benchmark%s, %s, lowest of %d", r.benchmark, p.times, p.count)
		if err == nil && r.over != "" {
			var over float64
			over, err = got.lowest(r.over, r.unit)
			note += fmt.Sprintf(": %s %s; Benchmark%s: %s %s", figures.Number(value), r.unit, r.over, figures.Number(over), r.unit)
			value = over / value
		}
		if err != nil {
			return nil, fmt.Errorf("%w\n%s", err, output.String())
		}
		l = append(l, figures.Figure{Name: r.name, Value: value * r.scale, Target: r.target, Kind: r.kind, Note: note})
	}
	return l, nil
}

// values are results by benchmark and unit.
type values map[string]map[string]figures.Sample

func (v values) lowest(benchmark, unit string) (float64, error) {
	sample := v[benchmark][unit]
	if len(sample) == 0 {
		return 0, fmt.Errorf("benchmark %s reported no %s", benchmark, unit)
	}
	return sample.Quantile(0), nil
}

var suffix = regexp.MustCompile(`-[0-9]+$`)

// line adds the results of a line of go test: name, repetitions, then pairs of value and
// unit.
func (v values) line(text string) {
	f := strings.Fields(text)
	if len(f) < 4 || !strings.HasPrefix(f[0], "Benchmark") {
		return
	}
	name := suffix.ReplaceAllString(strings.TrimPrefix(f[0], "Benchmark"), "")
	if v[name] == nil {
		v[name] = map[string]figures.Sample{}
	}
	for i := 2; i+1 < len(f); i += 2 {
		if n, err := strconv.ParseFloat(f[i], 64); err == nil {
			v[name][f[i+1]] = append(v[name][f[i+1]], n)
		}
	}
}
