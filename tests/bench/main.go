// SPDX-License-Identifier: Apache-2.0

// Command bench measures what recording costs and what it carries, with the
// built agent, real probes and the real kernel. It prints a table and writes
// build/bench.json, an object of names and numbers; names of others that are
// in the file stay.
//
// It runs at the root of the source tree, as root:
//
//	go run ./tests/bench [--quick] [--only REGEXP] [--output FILE]
//
// A figure that misses its target is reported, not an error.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"
)

// bench is what all measurements share.
type bench struct {
	quick      bool
	agent      string // the program
	publishers string // folder of the publishers' programs
	trace      string
	work       string // folder for logs, removed at the end
	figures    figures
}

// measurement is one part of the run; wants says which names it reports.
type measurement struct {
	names string
	run   func(*bench) error
}

func measurements() []measurement {
	return []measurement{
		{"probe_cost_ratio", (*bench).probeCost},
		{"handshake_cost_ratio", (*bench).handshakeCost},
		{"agent_cpu_us_per_event agent_rss_mib bytes_per_event lossless_hits_per_s", (*bench).onePublisher},
		{"lossless_values_per_s lossless_values_per_s_4", (*bench).severalPublishers},
		{"soak_rss_mib", (*bench).soak},
		{"commit_latency_p50_ms commit_latency_p99_ms commit_latency_p999_ms", (*bench).latency},
		{"idle_switches_per_s", (*bench).idle},
		{"attach_ms", (*bench).attach},
	}
}

func main() {
	quick := flag.Bool("quick", false, "about a minute, with more noise, instead of up to five")
	only := flag.String("only", "", "measure only what reports a name that matches `REGEXP`")
	output := flag.String("output", "build/bench.json", "merge the figures into `FILE`")
	flag.Parse()
	if err := run(*quick, *only, *output, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(quick bool, only, output string, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("cannot understand argument %q", args[0])
	}
	wanted, err := regexp.Compile(only)
	if err != nil {
		return fmt.Errorf("cannot use --only: %w", err)
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("cannot attach probes: run this as root")
	}
	b := &bench{quick: quick}
	if err := b.build(); err != nil {
		return err
	}
	if b.work, err = os.MkdirTemp("build", "bench-"); err != nil {
		return fmt.Errorf("cannot make a folder for the logs: %w", err)
	}
	if b.work, err = filepath.Abs(b.work); err != nil {
		return err
	}
	fmt.Print(b.parameters())
	begin := time.Now()
	for _, m := range measurements() {
		if !wanted.MatchString(m.names) {
			continue
		}
		fmt.Fprintf(os.Stderr, "%5.0f s  %s\n", time.Since(begin).Seconds(), m.names)
		if err := m.run(b); err != nil {
			return fmt.Errorf("cannot measure %s (logs are left in %s): %w", m.names, b.work, err)
		}
	}
	_ = os.RemoveAll(b.work) // the figures count
	fmt.Println()
	return errors.Join(b.figures.print(os.Stdout), b.figures.merge(output))
}

// pick returns one of two numbers, as the run is quick or not.
func (b *bench) pick(quick, full int) int {
	if b.quick {
		return quick
	}
	return full
}
