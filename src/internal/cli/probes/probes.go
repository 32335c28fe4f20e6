// SPDX-License-Identifier: Apache-2.0

// Package probes implements crauctl probes, which lists the probes of libraries and
// programs.
package probes

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"crypto-auditing/src/internal/cli/console"
	"crypto-auditing/src/internal/provider"
	"crypto-auditing/src/internal/usdt"
)

// NewCommand returns crauctl probes. The command reads only the files, no service and no
// log.
func NewCommand() *cobra.Command {
	var options probesOptions
	cmd := &cobra.Command{
		Use:   "probes [OPTIONS] FILE...",
		Short: "Show the probes of libraries and programs",
		Long: `Probes shows the probes that libraries and programs have for the audit: for each
file its build-id and machine, and for each probe its sites with address, file
offset, semaphore, kind of no-op and arguments.

For a library without probes whose functions the agent can record (source
"function"), it shows the values decoded from its code with the loads that lead
to each, the sites, and the reason for everything that is refused.

Probes of the audit are those of the providers ` + strings.Join(provider.Names(), ", ") + `.
--all shows those of other providers as well.

A site's address is the one its file was linked for. The kind of no-operation
is what the site stands on: 1 is the usual one, 1+5 and 5 let kernels from
6.18 on place the probe without a trap, none costs a single step at every hit.

Exit status:
  0  every file was read and has probes of the audit, which can all be used, or
     functions that can be recorded
  1  not so; the error names the files
  2  bad usage`,
		Example: `  crauctl probes /usr/lib64/libgnutls.so.30
  crauctl probes -o json-pretty --all /usr/lib64/libc.so.6`,
		Args:                  console.Arguments("FILE"),
		ValidArgsFunction:     cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault),
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, paths []string) error {
			return runProbes(cmd.OutOrStdout(), paths, options)
		},
	}
	options.output.Add(cmd)
	cmd.Flags().BoolVarP(&options.all, "all", "a", false, "show the probes of all providers")
	return cmd
}

type probesOptions struct {
	output console.ReportOption
	all    bool
}

// runProbes writes the reports of the files to w. A file with an error does not prevent
// the output of the others; the error joins the errors of all files.
func runProbes(w io.Writer, paths []string, options probesOptions) error {
	if err := options.output.Check(); err != nil {
		return err
	}
	var problems []error
	reports := make([]probesReport, 0, len(paths))
	for _, path := range paths {
		f, err := usdt.Open(path)
		if err != nil {
			problems = append(problems, withRemedy(err))
			reports = append(reports, probesReport{File: path, Error: withRemedy(err).Error()})
			continue
		}
		report := newProbesReport(f, options.all)
		report.Library = newLibraryReport(path)
		if err := report.problem(); err != nil {
			problems = append(problems, err)
			report.Error = err.Error()
		}
		reports = append(reports, report)
	}
	err := options.output.Write(w, console.Report{
		Text: func(w io.Writer) error { return writeProbesText(w, reports) },
		JSON: []any{reports},
	})
	if err != nil {
		return err
	}
	if len(problems) > 0 {
		return filesError(problems)
	}
	return nil
}

// filesError joins the errors of several files, one per line. It wraps nothing: the exit
// status for a denied permission is about the log, not about libraries.
type filesError []error

func (e filesError) Error() string { return errors.Join(e...).Error() }

// withRemedy adds the remedy to an error of usdt.Open that does not include it.
func withRemedy(err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: run this as a user who may read the file", err)
	case errors.Is(err, usdt.ErrNotELF):
		return fmt.Errorf("%w: name a shared library or a program, not a script or a linker script", err)
	}
	return err
}
