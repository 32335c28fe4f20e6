// SPDX-License-Identifier: Apache-2.0

// Command bench measures the cost and the throughput of recording, with the built agent,
// real probes and the real kernel. It prints a table and writes build/bench.json, an
// object of names and numbers; it keeps figures of other programs in that file.
//
// It runs at the root of the source tree, as root:
//
//	go run ./tests/bench [--quick] [--only REGEXP] [--output FILE]
//
// A missed target is reported, but is not an error.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"crypto-auditing/tests/bench/figures"
)

// bench is the state that all measurements share.
type bench struct {
	quick      bool
	agent      string // the program
	bare       string // the program with which lone compares it
	flooder    string // the program of flood/
	publishers string // directory of the publishers' programs
	trace      string
	work       string // directory for logs, removed at the end
	figures    figures.List
}

func (b *bench) measurements() []figures.Measurement {
	return []figures.Measurement{
		{Names: "probe_cost_ratio", Run: b.probeCost},
		{Names: "handshake_cost_ratio", Run: b.handshakeCost},
		{Names: "function_handshake_ratio function_pk_ratio function_traps_per_handshake", Run: b.functionCost},
		{Names: "agent_cpu_us_per_event agent_rss_mib bytes_per_event lossless_hits_per_s", Run: b.onePublisher},
		{Names: "lossless_values_per_s lossless_values_per_s_4", Run: b.severalPublishers},
		{Names: "soak_rss_mib", Run: b.soak},
		{Names: "commit_latency_p50_ms commit_latency_p99_ms commit_latency_p999_ms", Run: b.latency},
		{Names: "idle_switches_per_s", Run: b.idle},
		{Names: "lone_handshake_ratio lone_handshake_switches", Run: b.lone},
		{Names: "wire_send_ratio wire_receive_ratio wire_http_ratio wire_handshake_ratio wire_agent_us_per_handshake", Run: b.sockets},
		{Names: "wire_bulk_instructions_ratio wire_send_instructions_ratio wire_receive_instructions_ratio " +
			"wire_handshake_instructions_ratio idle_switches_per_s_wire", Run: b.instructions, Undisturbed: true},
		{Names: "wire_flood_agent_cpu wire_flood_rss_mib wire_flood_kept", Run: b.flood},
		{Names: "attach_ms attach_all_ms", Run: b.attach},
	}
}

func main() {
	if os.Getpid() == 1 && os.Args[0] == "/init" {
		runAsInit()
		return
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	o, err := figures.Parse("about a minute, with more noise, instead of up to five")
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("cannot attach probes: run this as root")
	}
	b := &bench{quick: o.Quick}
	if err := b.build(); err != nil {
		return err
	}
	if b.work, err = os.MkdirTemp("build", "bench-"); err != nil {
		return fmt.Errorf("cannot make a directory for the logs: %w", err)
	}
	if b.work, err = filepath.Abs(b.work); err != nil {
		return err
	}
	fmt.Print(b.parameters())
	if err := o.Measure(b.measurements(), &b.figures); err != nil {
		return errors.Join(fmt.Errorf("%w (logs are kept in %s)", err, b.work), o.Report(b.figures))
	}
	_ = os.RemoveAll(b.work) // a remaining directory does not invalidate the figures
	return o.Report(b.figures)
}

// pick returns the first number in a quick run, else the second.
func (b *bench) pick(quick, full int) int {
	if b.quick {
		return quick
	}
	return full
}
