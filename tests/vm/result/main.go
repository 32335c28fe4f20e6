// SPDX-License-Identifier: Apache-2.0

// Command result summarises the tests on the virtual machine. Its argument is a directory
// with their output (tests.log), the machine's audit log (audit/) and its journal
// (journal.txt). It fails unless all tests ran and passed and SELinux denied nothing
// unexpected. It also writes results.json, for tests/report.
package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"crypto-auditing/tests/report/outcome"
)

// prefix is the beginning of the names of tests in a summary.
const prefix = "tests/vm "

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: result DIRECTORY")
		os.Exit(2)
	}
	good, err := report(os.Stdout, os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "check-vm:", err)
	}
	if !good || err != nil {
		os.Exit(1)
	}
}

// report writes the summary of a directory and reports whether nothing failed.
func report(w io.Writer, directory string) (good bool, err error) {
	output, err := os.ReadFile(filepath.Join(directory, "tests.log"))
	if err != nil {
		return false, fmt.Errorf("cannot read the output of the tests: %w", err)
	}
	tests := parseTests(string(output))
	const name = "NothingElseWasDenied"
	audit, err := readAudit(directory)
	denials := parseDenials(audit)
	switch {
	case err != nil:
		tests.Fail(prefix+name, []string{err.Error()})
		fmt.Fprintf(w, "check-vm: FAIL %s: %v\n", name, err)
	case len(denials.ours) > 0:
		fmt.Fprintf(w, "check-vm: FAIL %s: SELinux denied accesses that no program should try, or that the policy should allow:\n", name)
		reason := []string{fmt.Sprintf("SELinux denied %d accesses", len(denials.ours))}
		for _, d := range denials.ours {
			fmt.Fprintf(w, "    %s\n", d.line)
			reason = append(reason, d.line)
		}
		tests.Fail(prefix+name, reason)
		fmt.Fprintf(w, "rules that would allow all of them:\n%s", hint(denials.ours))
	default:
		tests.Passed++
		fmt.Fprintf(w, "check-vm: PASS %s (%d denied on purpose, %d of the distribution)\n", name, denials.expected, len(denials.others))
	}
	for _, text := range tests.output {
		fmt.Fprintf(w, "\n%s\n", text)
	}
	if !tests.ended {
		console := filepath.Join(directory, "console.log")
		tests.Fail(prefix+"TheMachineCameToTheEnd", append([]string{"it ended before the tests did, or was stopped: see " + console}, tests.last...))
		fmt.Fprintf(w, "check-vm: FAIL the machine did not come to the end of the tests: see %s\n", console)
	}
	if err := tests.Save(filepath.Join(directory, "results.json")); err != nil {
		return false, err
	}
	fmt.Fprintf(w, "check-vm: the output of the machine is in %s: tests.log, journal.txt, audit, console.log\n\n", directory)
	fmt.Fprint(w, tests.Summary())
	return len(tests.Failed) == 0, nil
}

// results are the results of the tests on the machine.
type results struct {
	outcome.Outcome
	// output is the output of each failed or skipped test.
	output []string
	// ended reports whether all tests ran.
	ended bool
	// last is the output of a test that did not end.
	last []string
}

// parseTests parses the output of "go test -v".
func parseTests(text string) (r results) {
	var lines []string // of the current test
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		verdict, name, _ := strings.Cut(strings.TrimPrefix(line, "--- "), ": ")
		switch {
		case strings.HasPrefix(line, "=== RUN") && !strings.Contains(line, "/"):
			lines = nil
		case line == "PASS" || line == "FAIL":
			r.ended = true
		case strings.HasPrefix(line, "--- "):
			name, _, _ = strings.Cut(name, " ")
			reason := outcome.Reason(strings.Join(lines, "\n"))
			switch verdict {
			case "PASS":
				r.Passed++
			case "SKIP":
				r.Skip(strings.TrimSpace(strings.Join(reason, " ")))
			default:
				r.Fail(prefix+name, reason)
			}
			if verdict != "PASS" {
				r.output = append(r.output, strings.Join(append([]string{line}, lines...), "\n"))
			}
			lines = nil
			continue
		}
		lines = append(lines, line)
	}
	if !r.ended && len(lines) > 0 {
		r.last = lines
		r.output = append(r.output, strings.Join(lines, "\n"))
	}
	return r
}

// readAudit returns the audit log, and the journal, which has the kernel's messages from before
// the start of the audit daemon.
func readAudit(directory string) (string, error) {
	files, err := filepath.Glob(filepath.Join(directory, "audit", "audit.log*"))
	if err != nil {
		return "", err
	}
	if len(files) == 0 {
		return "", errors.New("the machine left no audit log: nobody knows what was denied")
	}
	var all strings.Builder
	for _, file := range append(files, filepath.Join(directory, "journal.txt")) {
		text, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("cannot read the audit log: %w", err)
		}
		all.Write(text)
	}
	return all.String(), nil
}
