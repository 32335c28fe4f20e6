// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

const trace = "tests/data/probe-traces/gnutls-tls13-p256.txt"

// build builds the agent, with the flags of an installation, and the publishers.
func (b *bench) build() error {
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
		return fmt.Errorf("cannot build: this is not the root of the source tree: %w", err)
	}
	b.agent = filepath.Join(root, "build/bench/crau-agent")
	b.bare = filepath.Join(root, "build/bench/bare")
	b.flooder = filepath.Join(root, "build/bench/flood")
	b.publishers = filepath.Join(root, "build/publishers")
	b.trace = filepath.Join(root, trace)
	commands := [][]string{
		{"go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", b.agent, "./src/cmd/crau-agent"},
		{"go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", b.bare, "./tests/bench/bare"},
		{"go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", b.flooder, "./tests/bench/flood"},
		{"make", "-s", "-C", "tests/publishers", "OUT=" + b.publishers},
	}
	for _, c := range commands {
		command := exec.Command(c[0], c[1:]...)
		command.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := command.CombinedOutput(); err != nil {
			return fmt.Errorf("cannot build: %s: %w\n%s", strings.Join(c, " "), err, out)
		}
	}
	return nil
}

func (b *bench) publisher(name string) string { return filepath.Join(b.publishers, name) }

// parameters describes the machine and the workload.
func (b *bench) parameters() string {
	var u unix.Utsname
	_ = unix.Uname(&u) // it fails only for a bad pointer
	load, _ := os.ReadFile("/proc/loadavg")
	var fs unix.Statfs_t
	_ = unix.Statfs(b.work, &fs) // 0 if unknown
	var s strings.Builder
	line := func(name, format string, arguments ...any) {
		fmt.Fprintf(&s, "%-12s %s\n", name, fmt.Sprintf(format, arguments...))
	}
	line("machine", "%s, kernel %s, %d cores, load before the run %s", cpuModel(), unix.ByteSliceToString(u.Release[:]),
		runtime.NumCPU(), strings.TrimSpace(string(load)))
	line("agent", "defaults (ring 8 MiB, coalesce window 100 ms, sync every 5 s, rate_limit 250,000 hits/s per process) unless stated otherwise; no process is pinned")
	line("log", "%s (file system type %#x)", b.work, fs.Type)
	line("workload", "%s: %d hits, %d values, %d new contexts per handshake, each with fresh ids",
		filepath.Base(b.trace), hitsPerHandshake, valuesPerHandshake, eventsPerHandshake-valuesPerHandshake)
	return s.String()
}

func cpuModel() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	for l := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(l, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}
