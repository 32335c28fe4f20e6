// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"crypto-auditing/tests/report/outcome"
)

// event is a line of "go test -json" (go doc test2json, go help buildjson).
type event struct {
	Action, Package, Test, Output string
	// ImportPath identifies the build of a build event, FailedBuild the build that made a
	// package fail.
	ImportPath, FailedBuild string
	Elapsed                 float64
}

// test identifies a test, or the package if name is empty.
type test struct{ pkg, name string }

func (t test) String() string { return strings.TrimSpace(t.pkg + " " + t.name) }

// stream follows the events of go test. It prints a line for each package, and the whole
// output of tests and packages that fail.
type stream struct {
	outcome.Outcome
	w       io.Writer
	output  map[test][]string   // of tests that have not ended
	running []test              // tests that have not ended, in the order of their start
	builds  map[string][]string // the output of builds, by import path
	failed  map[string]bool     // packages with a recorded failure
}

func newStream(w io.Writer) *stream {
	return &stream{w: w, output: map[test][]string{}, builds: map[string][]string{}, failed: map[string]bool{}}
}

func (s *stream) read(in io.Reader) error {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			var e event
			if json.Unmarshal([]byte(line), &e) == nil {
				s.take(e)
			} else {
				fmt.Fprint(s.w, line)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("cannot read the output of go test: %w", err)
		}
	}
}

func (s *stream) take(e event) {
	t := test{e.Package, e.Test}
	switch e.Action {
	case "build-output":
		s.builds[e.ImportPath] = append(s.builds[e.ImportPath], e.Output)
	case "run":
		s.running = append(s.running, t)
	case "output":
		s.output[t] = append(s.output[t], e.Output)
	case "pass", "skip", "fail":
		s.end(t, e)
	}
}

func (s *stream) end(t test, e event) {
	output := s.output[t]
	delete(s.output, t)
	s.running = slices.DeleteFunc(s.running, func(r test) bool { return r == t })
	switch {
	case e.Action == "fail" && t.name == "":
		s.failPackage(t, output, e.FailedBuild)
	case e.Action == "fail":
		fmt.Fprintf(s.w, "FAIL\t%s\n%s", t, strings.Join(output, ""))
		// A test without output failed only because one of its subtests failed.
		if why := outcome.Reason(strings.Join(output, "")); len(why) > 0 || !s.failed[t.pkg] {
			s.fail(t, why)
		}
	case t.name == "":
		if e.Action == "pass" {
			fmt.Fprintf(s.w, "ok\t%s\t%.1fs\n", t.pkg, e.Elapsed)
		}
	case e.Action == "pass":
		s.Passed++
	default:
		s.Skip(skipReason(output))
	}
}

func (s *stream) fail(t test, why []string) {
	s.failed[t.pkg] = true
	s.Fail(t.String(), why)
}

// failPackage records the failure of a package: of its build, of TestMain, or the end of
// the process before its tests have ended.
func (s *stream) failPackage(pkg test, output []string, build string) {
	if build != "" {
		output = s.builds[build]
	}
	fmt.Fprintf(s.w, "FAIL\t%s\n%s", pkg, strings.Join(output, ""))
	if build != "" {
		s.fail(pkg, append([]string{"does not build"}, outcome.Reason(strings.Join(output, ""))...))
	}
	// A panic, a timeout or a call of os.Exit ends tests without an event. go test has
	// attributed the last output of the process to one of them.
	var unfinished []string
	for _, t := range s.running {
		if t.pkg != pkg.pkg {
			continue
		}
		unfinished = append(unfinished, t.name)
		printed := strings.Join(s.output[t], "")
		if why := outcome.Reason(printed); len(why) > 0 {
			fmt.Fprintf(s.w, "FAIL\t%s\n%s", t, printed)
			s.fail(t, append(why, "the process ended before the test"))
		}
		delete(s.output, t)
	}
	s.running = slices.DeleteFunc(s.running, func(t test) bool { return t.pkg == pkg.pkg })
	if s.failed[pkg.pkg] {
		return
	}
	why := outcome.Reason(strings.Join(output, ""))
	if len(unfinished) > 0 {
		why = append(why, "the process ended before "+strings.Join(unfinished, ", "))
	}
	s.fail(pkg, why)
}

var position = regexp.MustCompile(`^[\w.-]+\.go:\d+: `)

// skipReason returns the reason of a skipped test, as one line.
func skipReason(output []string) string {
	var why []string
	for _, line := range outcome.Reason(strings.Join(output, "")) {
		why = append(why, position.ReplaceAllString(strings.TrimSpace(line), ""))
	}
	if len(why) == 0 {
		return "no reason given"
	}
	return strings.Join(why, " ")
}
