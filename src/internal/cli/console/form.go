// SPDX-License-Identifier: Apache-2.0

package console

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// Form is an output form. W is the type of its writer.
type Form[W any] struct {
	Name, Help string
	Write      W
}

// Forms is a table of output forms, the default first.
type Forms[W any] []Form[W]

func (f Forms[W]) names() string {
	names := make([]string, len(f))
	for i := range f {
		names[i] = f[i].Name
	}
	return strings.Join(names, ", ")
}

// Option adds the option --output to a command, with its completion.
func (f Forms[W]) Option(command *cobra.Command, name *string) {
	command.Flags().StringVarP(name, "output", "o", f[0].Name, "output `FORM`: "+f.names())
	completions := make([]string, len(f))
	for i := range f {
		completions[i] = f[i].Name + "\t" + f[i].Help
	}
	MustComplete(command, "output", cobra.FixedCompletions(completions, cobra.ShellCompDirectiveNoFileComp))
}

// Named returns the writer of the form with a name. The error is a UsageError.
func (f Forms[W]) Named(name string) (W, error) {
	for i := range f {
		if f[i].Name == name {
			return f[i].Write, nil
		}
	}
	var none W
	return none, Usagef("unknown output form %q: there are %s", name, f.names())
}

// Report is the result of a command.
type Report struct {
	// Text writes it as text.
	Text func(w io.Writer) error
	// JSON are the values to write as JSON, one after another.
	JSON []any
}

func reportForms() Forms[func(io.Writer, *Report) error] {
	return Forms[func(io.Writer, *Report) error]{
		{"short", "readable lines", func(w io.Writer, r *Report) error { return r.Text(w) }},
		{"json", "JSON, a value per line", func(w io.Writer, r *Report) error { return r.json(w, "") }},
		{"json-pretty", "JSON, indented", func(w io.Writer, r *Report) error { return r.json(w, "  ") }},
	}
}

func (r *Report) json(w io.Writer, indent string) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", indent)
	for _, value := range r.JSON {
		if err := e.Encode(value); err != nil {
			return err
		}
	}
	return nil
}

// ReportOption is the option --output of a command with a Report.
type ReportOption struct{ name string }

// ReportAs returns the option with the given form.
func ReportAs(form string) ReportOption { return ReportOption{name: form} }

// Add adds the option to a command.
func (o *ReportOption) Add(command *cobra.Command) { reportForms().Option(command, &o.name) }

// Check returns a UsageError if the form does not exist.
func (o *ReportOption) Check() error {
	_, err := reportForms().Named(o.name)
	return err
}

// Write writes a report in the selected form.
func (o *ReportOption) Write(w io.Writer, r Report) error {
	write, err := reportForms().Named(o.name)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(w)
	err = write(out, &r)
	if flushErr := out.Flush(); err == nil {
		err = flushErr
	}
	if err != nil {
		return fmt.Errorf("cannot write output: %w", err)
	}
	return nil
}
