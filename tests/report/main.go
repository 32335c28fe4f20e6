// SPDX-License-Identifier: Apache-2.0

// Command report runs "go test" with the given arguments and reports: the
// output of what fails, a line per package, and at the end a count with the
// reason of every skip, which it also writes to build/report.txt.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// event is a line of "go test -json" (go doc test2json).
type event struct {
	Action, Package, Test, Output string
	Elapsed                       float64
}

// test names a test; without a name it is the package itself.
type test struct{ pkg, name string }

type report struct {
	output                  map[test][]string
	passed, failed, skipped int
	reasons                 map[string]int
}

func main() {
	r := report{output: map[test][]string{}, reasons: map[string]int{}}
	if err := r.run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(1)
	}
	text := r.summary()
	fmt.Print(text)
	if err := write(text); err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(1)
	}
	if r.failed > 0 {
		os.Exit(1)
	}
}

func write(text string) error {
	if err := os.MkdirAll("build", 0o755); err != nil {
		return fmt.Errorf("cannot write the report: %w", err)
	}
	if err := os.WriteFile(filepath.Join("build", "report.txt"), []byte(text), 0o644); err != nil {
		return fmt.Errorf("cannot write the report: %w", err)
	}
	return nil
}

func (r *report) run(args []string) error {
	command := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	command.Stderr = os.Stderr
	out, err := command.StdoutPipe()
	if err != nil {
		return fmt.Errorf("cannot run go test: %w", err)
	}
	if err := command.Start(); err != nil {
		return fmt.Errorf("cannot run go test: %w", err)
	}
	if err := r.read(out); err != nil {
		return err
	}
	// What failed is known from the events; without any, go test itself did.
	if err := command.Wait(); err != nil && r.failed == 0 {
		return fmt.Errorf("cannot run go test: %w", err)
	}
	return nil
}

func (r *report) read(in io.Reader) error {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			var e event
			if json.Unmarshal([]byte(line), &e) != nil {
				fmt.Print(line)
			} else {
				r.take(e)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("cannot read what go test says: %w", err)
		}
	}
}

func (r *report) take(e event) {
	t := test{e.Package, e.Test}
	switch e.Action {
	case "output", "build-output":
		r.output[t] = append(r.output[t], e.Output)
	case "pass":
		if e.Test != "" {
			r.passed++
		} else {
			fmt.Printf("ok\t%s\t%.1fs\n", e.Package, e.Elapsed)
		}
		delete(r.output, t)
	case "skip":
		if e.Test != "" {
			r.skipped++
			r.reasons[reason(r.output[t])]++
		}
		delete(r.output, t)
	case "fail", "build-fail":
		// A package fails with its tests, and alone when it does not build or
		// its TestMain fails.
		if e.Test != "" || !r.failedIn(e.Package) {
			r.failed++
		}
		fmt.Printf("FAIL\t%s %s\n%s", e.Package, e.Test, strings.Join(r.output[t], ""))
		if e.Test != "" {
			r.output[test{e.Package, "failed"}] = []string{}
		}
	}
}

func (r *report) failedIn(pkg string) bool {
	_, ok := r.output[test{pkg, "failed"}]
	return ok
}

// reason finds why a test was skipped: what it printed besides the marks of
// the test runner.
func reason(output []string) string {
	var why []string
	for _, line := range output {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "===") || strings.HasPrefix(line, "---") {
			continue
		}
		// "file_test.go:12: reason"
		if _, after, ok := strings.Cut(line, ".go:"); ok {
			if _, text, ok := strings.Cut(after, ": "); ok {
				line = text
			}
		}
		why = append(why, line)
	}
	if len(why) == 0 {
		return "no reason given"
	}
	return strings.Join(why, " ")
}

func (r *report) summary() string {
	var b strings.Builder
	reasons := make([]string, 0, len(r.reasons))
	for why := range r.reasons {
		reasons = append(reasons, why)
	}
	slices.Sort(reasons)
	for _, why := range reasons {
		fmt.Fprintf(&b, "skipped %d: %s\n", r.reasons[why], why)
	}
	fmt.Fprintf(&b, "%d passed, %d failed, %d skipped\n", r.passed, r.failed, r.skipped)
	return b.String()
}
