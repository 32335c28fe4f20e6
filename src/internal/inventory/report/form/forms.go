// SPDX-License-Identifier: Apache-2.0

// Package form writes reports: as text, JSON, CSV, HTML and JUnit.
package form

import (
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"crypto-auditing/src/internal/inventory/report"
)

// CSV writes a report as a line for each use (RFC 4180).
func CSV(w io.Writer, r *report.Report) error {
	c := csv.NewWriter(w)
	head := append([]string{"executable", "unit", "library", "library_id", "source", "operation", "within", "role"}, report.ParameterNames()...)
	head = append(head, "count", "failures", "first", "last", "key_establishment", "authentication", "breaks", "undecidable")
	if err := c.Write(head); err != nil {
		return err
	}
	for i := range r.Uses {
		u := &r.Uses[i]
		line := []string{u.Executable, u.Unit, u.Library, u.LibraryID, u.Source, u.Operation, u.Within, u.Role}
		for _, name := range report.ParameterNames() {
			line = append(line, u.Parameters[name])
		}
		line = append(line, strconv.FormatUint(u.Count, 10), strconv.FormatUint(u.Failures, 10),
			u.First.Format(time.RFC3339), u.Last.Format(time.RFC3339), u.KeyEstablishment, u.Authentication,
			strings.Join(u.Breaks, " "), strings.Join(u.Undecidable, " "))
		for j := range line {
			line[j] = cell(line[j])
		}
		if err := c.Write(line); err != nil {
			return err
		}
	}
	c.Flush()
	return c.Error()
}

// cell prevents a spreadsheet from interpreting a text as a formula.
func cell(text string) string {
	if text != "" && strings.ContainsRune("=+-@\t\r", rune(text[0])) {
		return "'" + text
	}
	return text
}

// Form is a form of a report.
type Form struct {
	Name, Help string
	Write      func(w io.Writer, r *report.Report, style Style) error
}

// Forms returns all forms, the default first.
func Forms() []Form {
	return []Form{
		{"text", "text of 80 columns", Text},
		{"json", "JSON, which --baseline reads", func(w io.Writer, r *report.Report, _ Style) error { return r.JSON(w) }},
		{"csv", "a line for each use", func(w io.Writer, r *report.Report, _ Style) error { return CSV(w, r) }},
		{"html", "a page to print", func(w io.Writer, r *report.Report, _ Style) error { return HTML(w, r) }},
		{"junit", "JUnit XML, for continuous integration", func(w io.Writer, r *report.Report, _ Style) error { return JUnit(w, r) }},
	}
}

// UnknownFormError is a form that does not exist.
type UnknownFormError struct{ Name string }

func (e *UnknownFormError) Error() string {
	var names []string
	for _, f := range Forms() {
		names = append(names, f.Name)
	}
	return fmt.Sprintf("unknown form %q: there are %s", e.Name, strings.Join(names, ", "))
}

// Write writes a report in a form. The error may be an *UnknownFormError.
func Write(w io.Writer, r *report.Report, form string, style Style) error {
	for _, f := range Forms() {
		if f.Name == form {
			return f.Write(w, r, style)
		}
	}
	return &UnknownFormError{form}
}
