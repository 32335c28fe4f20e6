// SPDX-License-Identifier: Apache-2.0

// Command broker measures the delivery of events from the log to subscribers, with the
// built broker on a private bus with the real policy, and for latencies the built agent on
// real probes. It prints a table and merges the figures into build/bench.json.
//
// It runs at the root of the source tree, as root:
//
//	go run ./tests/bench/broker [--quick] [--only REGEXP] [--output FILE]
//
// A missed target is reported, but is not an error.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"crypto-auditing/tests/bench/figures"
)

// bench is the state that all measurements share.
type bench struct {
	quick   bool
	root    string
	tools   string // directory of the built programs
	work    string // directory for logs and sockets, removed at the end
	figures figures.List
}

func (b *bench) measurements() []figures.Measurement {
	return []figures.Measurement{
		{Names: "signal_groups_per_s signal_groups_per_s_10 signal_groups_per_s_100", Run: b.rates},
		{Names: "open_vs_scan open_groups_per_s read_groups_per_s scan_groups_per_s", Run: b.bulk},
		{Names: "operations_vs_open operations_open_groups_per_s operations_groups_per_s", Run: b.operations},
		{Names: "operation_signals_per_s operation_signals_per_s_100", Run: b.operationRates},
		{Names: "inventory_events_per_cpu_s inventory_rss_mib", Run: b.inventory},
		{Names: "fanout100_cpu", Run: b.fanOut},
		{Names: "broker_and_bus_rss_mib", Run: b.memory},
		{Names: "signal_latency_p50_ms signal_latency_p99_ms", Run: b.latency},
	}
}

func main() {
	mode := run
	if address := os.Getenv(asSubscriber); address != "" {
		mode = func() error { return runSubscriber(address) }
	}
	if err := mode(); err != nil {
		fmt.Fprintln(os.Stderr, "bench/broker:", err)
		os.Exit(1)
	}
}

func run() error {
	o, err := figures.Parse("half a minute, with more noise, instead of two")
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("only root may own the broker's name on a bus with the real policy: run this as root")
	}
	if _, err := exec.LookPath("dbus-daemon"); err != nil {
		return errors.New("cannot start a bus: install dbus-daemon")
	}
	b := &bench{quick: o.Quick}
	if err := b.build(); err != nil {
		return err
	}
	if b.work, err = os.MkdirTemp("", "crau-bench-"); err != nil {
		return fmt.Errorf("cannot make a directory for the logs: %w", err)
	}
	fmt.Printf("broker: %s, %d processors, %s; %s\n", runtime.GOARCH, runtime.NumCPU(), runtime.Version(),
		"private dbus-daemon; groups like those of a GnuTLS handshake, 4 events, about 320 bytes on the bus")
	if err := o.Measure(b.measurements(), &b.figures); err != nil {
		return errors.Join(fmt.Errorf("%w (files are kept in %s)", err, b.work), o.Report(b.figures))
	}
	_ = os.RemoveAll(b.work) // a remaining directory does not invalidate the figures
	return o.Report(b.figures)
}

// build builds the programs with the flags of an installation.
func (b *bench) build() error {
	root, err := os.Getwd()
	if err == nil {
		_, err = os.Stat(filepath.Join(root, "go.mod"))
	}
	if err != nil {
		return fmt.Errorf("cannot build: this is not the root of the source tree: %w", err)
	}
	b.root, b.tools = root, filepath.Join(root, "build/bench")
	for name, path := range map[string]string{
		"crau-broker": "./src/cmd/crau-broker", "crau-inventory": "./src/cmd/crau-inventory", "crau-agent": "./src/cmd/crau-agent", "filler": "./src/internal/broker/filler",
	} {
		command := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(b.tools, name), path)
		command.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := command.CombinedOutput(); err != nil {
			return fmt.Errorf("cannot build %s: %w\n%s", name, err, out)
		}
	}
	command := exec.Command("make", "-s", "-C", "tests/publishers", "OUT="+filepath.Join(root, "build/publishers"))
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot build the publishers: %w\n%s", err, out)
	}
	return nil
}

func (b *bench) tool(name string) string { return filepath.Join(b.tools, name) }

// fill writes a log, or extends it.
func (b *bench) fill(dir string, arguments ...string) error {
	out, err := exec.Command(b.tool("filler"), append([]string{"-dir", dir, "-quiet"}, arguments...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("cannot make a log: %w\n%s", err, out)
	}
	return nil
}

// pick returns the first number in a quick run, else the second.
func (b *bench) pick(quick, full int) int {
	if b.quick {
		return quick
	}
	return full
}

// directory returns the path of a measurement's directory.
func (b *bench) directory(name string) string {
	return filepath.Join(b.work, strings.ReplaceAll(name, " ", "-"))
}
