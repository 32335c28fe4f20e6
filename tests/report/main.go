// SPDX-License-Identifier: Apache-2.0

// Command report runs the parts of "make check" and reports on all of them at the end. It
// saves the results of each part in a file of build/report.
//
//	report test ARGUMENT...      runs "go test" with these arguments
//	report step NAME COMMAND...  runs a command, which succeeds or fails as a whole
//	report summary [-failed NAME] FILE...
//
// The summary lists failures with their reasons, then the reasons of skips, then the
// counts. It is printed and written to build/report.txt. -failed adds a part that has no
// results. The exit status is 1 if anything failed.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"crypto-auditing/tests/report/outcome"
)

const directory = "build/report"

var errUsage = errors.New("usage: report test ARGUMENT... | step NAME COMMAND... | summary [-failed NAME] FILE..., see go doc")

func main() {
	good, err := run(os.Stdout, os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
	}
	if !good || err != nil {
		os.Exit(1)
	}
}

func run(w io.Writer, arguments []string) (good bool, err error) {
	switch {
	case len(arguments) > 1 && arguments[0] == "test":
		o, err := goTest(w, arguments[1:])
		if err != nil {
			return false, err
		}
		return len(o.Failed) == 0, save(o)
	case len(arguments) > 2 && arguments[0] == "step":
		o := step(w, arguments[1], arguments[2:])
		if len(o.Failed) == 0 {
			return true, nil
		}
		return false, save(o)
	case len(arguments) > 0 && arguments[0] == "summary":
		return summary(w, arguments[1:])
	}
	return false, errUsage
}

// save writes the results of one part.
func save(o *outcome.Outcome) error {
	if err := os.MkdirAll(directory, 0o755); err != nil {
		return fmt.Errorf("cannot save the results: %w", err)
	}
	entries, err := os.ReadDir(directory)
	if err != nil {
		return fmt.Errorf("cannot save the results: %w", err)
	}
	return o.Save(filepath.Join(directory, fmt.Sprintf("%03d.json", len(entries))))
}

func goTest(w io.Writer, arguments []string) (*outcome.Outcome, error) {
	command := exec.Command("go", append([]string{"test", "-json"}, arguments...)...)
	var stderr bytes.Buffer
	command.Stderr = io.MultiWriter(os.Stderr, &stderr)
	out, err := command.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("cannot run go test: %w", err)
	}
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("cannot run go test: %w", err)
	}
	s := newStream(w)
	if err := s.read(out); err != nil {
		return nil, err
	}
	// If no event reports a failure, go test itself failed.
	if err := command.Wait(); err != nil && len(s.Failed) == 0 {
		s.Fail("go test", append(outcome.Reason(stderr.String()), err.Error()))
	}
	return &s.Outcome, nil
}

// step runs a command. Only a failure is a result: a step that succeeds is not counted as
// a passed test.
func step(w io.Writer, name string, arguments []string) *outcome.Outcome {
	command := exec.Command(arguments[0], arguments[1:]...)
	var output bytes.Buffer
	command.Stdout = io.MultiWriter(w, &output)
	command.Stderr = command.Stdout
	o := &outcome.Outcome{}
	if err := command.Run(); err != nil {
		why := outcome.Reason(output.String())
		if len(why) == 0 {
			why = []string{err.Error()}
		}
		o.Fail(name, why)
	}
	return o
}

func summary(w io.Writer, arguments []string) (good bool, err error) {
	flags := flag.NewFlagSet("summary", flag.ContinueOnError)
	var parts []string
	flags.Func("failed", "a part that has no results", func(name string) error {
		parts = append(parts, name)
		return nil
	})
	if err := flags.Parse(arguments); err != nil {
		return false, err
	}
	sum, err := outcome.Load(flags.Args()...)
	if err != nil {
		sum.Fail("report", []string{err.Error()})
	}
	for _, name := range parts {
		sum.Fail(name, []string{"it ended before it had results: see its output"})
	}
	text := sum.Summary()
	fmt.Fprint(w, text)
	if err := os.MkdirAll(filepath.Dir(directory), 0o755); err != nil {
		return false, fmt.Errorf("cannot write the summary: %w", err)
	}
	if err := os.WriteFile(directory+".txt", []byte(text), 0o644); err != nil {
		return false, fmt.Errorf("cannot write the summary: %w", err)
	}
	return len(sum.Failed) == 0, nil
}
