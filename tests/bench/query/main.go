// SPDX-License-Identifier: Apache-2.0

// Command query measures queries of a large log: the built crauctl reads a log of 1 GiB, of
// operations whose ids do not compress, compared with zstdcat of the same log. It prints a
// table and merges the figures into build/bench.json.
//
// It runs at the root of the source tree:
//
//	go run ./tests/bench/query [--quick] [--only REGEXP] [--output FILE]
//
// A missed target is reported, but is not an error.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"crypto-auditing/tests/bench/figures"
)

// bench is the state that all measurements share.
type bench struct {
	quick    bool
	tools    string // directory of the built programs
	dir      string // of the log
	segments []string
	figures  figures.List
}

func (b *bench) measurements() []figures.Measurement {
	return []figures.Measurement{
		{Names: "tree_us_per_group", Run: b.trees},
		{Names: "scan_vs_zstdcat query_json_vs_zstdcat verify_vs_zstdcat query_json_rss_mib", Run: b.wholeLog},
		{Names: "query_first_line_ms query_match_ms", Run: b.responseTime},
		{Names: "query_reverse_rss_mib", Run: b.reverse},
	}
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench/query:", err)
		os.Exit(1)
	}
}

func run() error {
	o, err := figures.Parse("use a log of 128 MiB instead of 1 GiB, and fewer repetitions")
	if err != nil {
		return err
	}
	if _, err := exec.LookPath("zstdcat"); err != nil {
		return errors.New("cannot compare with zstdcat: install zstd")
	}
	b := &bench{quick: o.Quick}
	if err := b.build(); err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "crau-bench-")
	if err != nil {
		return fmt.Errorf("cannot make a directory for the log: %w", err)
	}
	defer func() { _ = os.RemoveAll(work) }() // a remaining directory does not invalidate the figures
	b.dir = filepath.Join(work, "log")
	if err := b.fill(); err != nil {
		return err
	}
	if err := o.Measure(b.measurements(), &b.figures); err != nil {
		return errors.Join(err, o.Report(b.figures))
	}
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
	b.tools = filepath.Join(root, "build/bench")
	for name, path := range map[string]string{"crauctl": "./src/cmd/crauctl", "filler": "./src/internal/broker/filler"} {
		command := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(b.tools, name), path)
		command.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := command.CombinedOutput(); err != nil {
			return fmt.Errorf("cannot build %s: %w\n%s", name, err, out)
		}
	}
	return nil
}

// A chunk of groupsInChunk groups takes about 105 kB in the log.
const groupsInChunk = 3900

// fill makes the log.
func (b *bench) fill() error {
	chunks := 10_200
	if b.quick {
		chunks /= 8
	}
	begin := time.Now()
	out, err := exec.Command(filepath.Join(b.tools, "filler"), "-dir", b.dir, "-quiet", "-fresh", "-rare", "3",
		"-groups", strconv.Itoa(groupsInChunk), "-chunks", strconv.Itoa(chunks), "-segment-chunks", "1200").CombinedOutput()
	if err != nil {
		return fmt.Errorf("cannot make a log: %w\n%s", err, out)
	}
	if b.segments, err = filepath.Glob(filepath.Join(b.dir, "audit-*.zst")); err != nil {
		return err
	}
	size := int64(0)
	for _, segment := range b.segments {
		info, err := os.Stat(segment)
		if err != nil {
			return err
		}
		size += info.Size()
	}
	fmt.Printf("query: %s, %d processors, %s; a log of %d MiB, %d groups, made in %.0f s\n", runtime.GOARCH, runtime.NumCPU(), runtime.Version(),
		size>>20, chunks*groupsInChunk, time.Since(begin).Seconds())
	return nil
}

// usage is the run time and memory of a program.
type usage struct {
	seconds float64
	rss     float64 // peak, in MiB
}

// measure runs a program of the project, or zstdcat, until it exits, and discards its
// output.
func (b *bench) measure(name string, arguments ...string) (u usage, err error) {
	if path := filepath.Join(b.tools, name); name != "zstdcat" {
		name = path
	}
	command := exec.Command(name, arguments...)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	begin := time.Now()
	if err := command.Run(); err != nil {
		return u, fmt.Errorf("cannot run %s: %w\n%s", command, err, stderr.Bytes())
	}
	return usage{time.Since(begin).Seconds(), peak(command)}, nil
}

// peak returns the peak resident memory of an exited program in MiB.
func peak(c *exec.Cmd) float64 {
	if u, ok := c.ProcessState.SysUsage().(*syscall.Rusage); ok {
		return float64(u.Maxrss) / 1024
	}
	return 0
}

var microseconds = regexp.MustCompile(`BenchmarkTrees/ordered\S*\s.*\s([0-9.]+) us/group`)

// trees measures only the building of trees.
func (b *bench) trees() error {
	var all figures.Sample
	for range b.pick(2, 5) {
		out, err := exec.Command("go", "test", "-run", "^$", "-bench", "^BenchmarkTrees$/^ordered$", "-benchtime", "2000000x", "./src/internal/schema").CombinedOutput()
		if err != nil {
			return fmt.Errorf("cannot run the benchmark: %w\n%s", err, out)
		}
		found := microseconds.FindSubmatch(out)
		if found == nil {
			return fmt.Errorf("cannot parse the output of the benchmark: %s", out)
		}
		us, err := strconv.ParseFloat(string(found[1]), 64)
		if err != nil {
			return err
		}
		all = append(all, us)
	}
	b.figures.AtMost("tree_us_per_group", all.Median(), 1.5, "BenchmarkTrees, memory limit reached; "+all.Spread())
	return nil
}

// wholeLog measures the programs that read the whole log, alternating with zstdcat.
func (b *bench) wholeLog() error {
	var scan, query, verify, seconds figures.Sample
	rss := 0.0
	for range b.pick(1, 3) {
		base, err := b.measure("zstdcat", b.segments...)
		if err != nil {
			return err
		}
		s, err := b.measure("filler", "-dir", b.dir, "-scan")
		if err != nil {
			return err
		}
		q, err := b.measure("crauctl", "query", "-D", b.dir, "-o", "json")
		if err != nil {
			return err
		}
		v, err := b.measure("crauctl", "verify", "-D", b.dir)
		if err != nil {
			return err
		}
		seconds, scan = append(seconds, base.seconds), append(scan, s.seconds/base.seconds)
		query, verify = append(query, q.seconds/base.seconds), append(verify, v.seconds/base.seconds)
		rss = max(rss, q.rss)
	}
	note := fmt.Sprintf("zstdcat takes %.1f s; ", seconds.Median())
	b.figures.AtMost("scan_vs_zstdcat", scan.Median(), 3, note+"all groups decoded; "+scan.Spread())
	b.figures.AtMost("query_json_vs_zstdcat", query.Median(), 15, note+query.Spread())
	b.figures.AtMost("verify_vs_zstdcat", verify.Median(), 3, note+verify.Spread())
	b.figures.Add("query_json_rss_mib", rss, "peak of crauctl query -o json")
	return nil
}

// responseTime measures the time to the first output and to a rare match.
func (b *bench) responseTime() error {
	var first, match figures.Sample
	for range b.pick(3, 9) {
		command := exec.Command(filepath.Join(b.tools, "crauctl"), "query", "-D", b.dir)
		out, err := command.StdoutPipe()
		if err != nil {
			return err
		}
		begin := time.Now()
		if err := command.Start(); err != nil {
			return fmt.Errorf("cannot run crauctl: %w", err)
		}
		if _, err := io.ReadFull(out, make([]byte, 1)); err != nil {
			return fmt.Errorf("cannot read the output of crauctl: %w", err)
		}
		first = append(first, time.Since(begin).Seconds()*1e3)
		out.Close()
		_ = command.Wait() // it fails because its output is closed
		u, err := b.measure("crauctl", "query", "-D", b.dir, "tls::protocol_version=771")
		if err != nil {
			return err
		}
		match = append(match, u.seconds*1e3)
	}
	b.figures.AtMost("query_first_line_ms", first.Median(), 500, "crauctl query; "+first.Spread())
	b.figures.AtMost("query_match_ms", match.Median(), 300, "tls::protocol_version=771, in 3 chunks; "+match.Spread())
	return nil
}

// reverse measures the memory of reading backwards for a limited time: it is allocated
// early.
func (b *bench) reverse() error {
	command := exec.Command(filepath.Join(b.tools, "crauctl"), "query", "-r", "-D", b.dir)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	begin := time.Now()
	if err := command.Start(); err != nil {
		return fmt.Errorf("cannot run crauctl: %w", err)
	}
	limit := time.AfterFunc(time.Duration(b.pick(10, 60))*time.Second, func() { _ = command.Process.Signal(os.Interrupt) })
	defer limit.Stop()
	err := command.Wait()
	if interrupted := command.ProcessState.ExitCode() == 130; err != nil && !interrupted {
		return fmt.Errorf("cannot run crauctl: %w\n%s", err, stderr.Bytes())
	}
	b.figures.AtMost("query_reverse_rss_mib", peak(command), 64, fmt.Sprintf("crauctl query -r, peak in %.0f s", time.Since(begin).Seconds()))
	return nil
}

// pick returns the first number in a quick run, else the second.
func (b *bench) pick(quick, full int) int {
	if b.quick {
		return quick
	}
	return full
}
