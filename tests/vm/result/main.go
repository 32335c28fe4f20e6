// SPDX-License-Identifier: Apache-2.0

// Command result tells what became of the tests on the virtual machine. In the
// folder that it is given are what they said (tests.log), the machine's audit
// log (audit/) and its journal (journal.txt). It fails unless all tests were
// run and passed and SELinux denied nothing that it should not have. What it
// found is in results.json, too, for tests/report.
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

// place begins the names of tests in a summary.
const place = "tests/vm "

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: result FOLDER")
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

// report tells what is in a folder and whether all is well.
func report(w io.Writer, folder string) (good bool, err error) {
	said, err := os.ReadFile(filepath.Join(folder, "tests.log"))
	if err != nil {
		return false, fmt.Errorf("cannot read what the tests said: %w", err)
	}
	tests := parseTests(string(said))
	const name = "NothingElseWasDenied"
	audit, err := readAudit(folder)
	denials := parseDenials(audit)
	switch {
	case err != nil:
		tests.Fail(place+name, []string{err.Error()})
		fmt.Fprintf(w, "check-vm: FAIL %s: %v\n", name, err)
	case len(denials.ours) > 0:
		fmt.Fprintf(w, "check-vm: FAIL %s: SELinux denied what nobody should have tried, or what the policy should allow:\n", name)
		why := []string{fmt.Sprintf("SELinux denied %d accesses", len(denials.ours))}
		for _, d := range denials.ours {
			fmt.Fprintf(w, "    %s\n", d.line)
			why = append(why, d.line)
		}
		tests.Fail(place+name, why)
		fmt.Fprintf(w, "as a policy, if all of it were right:\n%s", hint(denials.ours))
	default:
		tests.Passed++
		fmt.Fprintf(w, "check-vm: PASS %s (%d denied on purpose, %d of the distribution)\n", name, denials.purpose, len(denials.others))
	}
	for _, text := range tests.output {
		fmt.Fprintf(w, "\n%s\n", text)
	}
	if !tests.ended {
		console := filepath.Join(folder, "console.log")
		tests.Fail(place+"TheMachineCameToTheEnd", append([]string{"it ended before the tests did, or was stopped: see " + console}, tests.last...))
		fmt.Fprintf(w, "check-vm: FAIL the machine did not come to the end of the tests: see %s\n", console)
	}
	if err := tests.Save(filepath.Join(folder, "results.json")); err != nil {
		return false, err
	}
	fmt.Fprintf(w, "check-vm: what the machine said is in %s: tests.log, journal.txt, audit, console.log\n\n", folder)
	fmt.Fprint(w, tests.Summary())
	return len(tests.Failed) == 0, nil
}

// results are those of the tests on the machine.
type results struct {
	outcome.Outcome
	// output is what tests said that failed or were skipped.
	output []string
	// ended: all were run.
	ended bool
	// last is what a test said that did not end.
	last []string
}

// parseTests understands the output of "go test -v".
func parseTests(text string) (r results) {
	var since []string // the last test began
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		verdict, name, _ := strings.Cut(strings.TrimPrefix(line, "--- "), ": ")
		switch {
		case strings.HasPrefix(line, "=== RUN") && !strings.Contains(line, "/"):
			since = nil
		case line == "PASS" || line == "FAIL":
			r.ended = true
		case strings.HasPrefix(line, "--- "):
			name, _, _ = strings.Cut(name, " ")
			why := outcome.Reason(strings.Join(since, "\n"))
			switch verdict {
			case "PASS":
				r.Passed++
			case "SKIP":
				r.Skip(strings.TrimSpace(strings.Join(why, " ")))
			default:
				r.Fail(place+name, why)
			}
			if verdict != "PASS" {
				r.output = append(r.output, strings.Join(append([]string{line}, since...), "\n"))
			}
			since = nil
			continue
		}
		since = append(since, line)
	}
	if !r.ended && len(since) > 0 {
		r.last = since
		r.output = append(r.output, strings.Join(since, "\n"))
	}
	return r
}

// readAudit returns the audit log, with what the kernel said before the audit
// daemon was there to take it.
func readAudit(folder string) (string, error) {
	files, err := filepath.Glob(filepath.Join(folder, "audit", "audit.log*"))
	if err != nil {
		return "", err
	}
	if len(files) == 0 {
		return "", errors.New("the machine left no audit log: nobody knows what was denied")
	}
	var all strings.Builder
	for _, file := range append(files, filepath.Join(folder, "journal.txt")) {
		text, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("cannot read the audit log: %w", err)
		}
		all.Write(text)
	}
	return all.String(), nil
}
