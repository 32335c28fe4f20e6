// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"crypto-auditing/src/internal/cli/console"
	"crypto-auditing/src/internal/cli/render"
	"crypto-auditing/src/internal/cli/terminal"
	"crypto-auditing/src/internal/inventory/cryptopolicy"
)

// list has the policies of a machine.
type list struct {
	// Applied is the policy that the machine applies, AppliedFrom the file that names it.
	Applied     string               `json:"applied,omitempty"`
	AppliedFrom string               `json:"applied_from,omitempty"`
	Policies    []cryptopolicy.Entry `json:"policies"`
}

func newListCommand(e *console.Environment) *cobra.Command {
	var directories directories
	var output console.ReportOption
	command := &cobra.Command{
		Use:   "list",
		Short: "List policies and modules",
		Long: `List lists the policies and modules that policy check knows by name, with their
files, and the policy that this machine applies.

Exit status:
  0    success
  1    failure, also if there are no policies
  2    bad usage
`,
		Args: console.NoArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			if err := output.Check(); err != nil {
				return err
			}
			l, err := newList(e, &directories)
			if err != nil {
				return err
			}
			ascii := terminal.IsASCII(e.Getenv)
			return output.Write(command.OutOrStdout(), console.Report{
				Text: func(w io.Writer) error { return l.writeText(w, ascii) },
				JSON: []any{l},
			})
		},
	}
	directories.add(command)
	output.Add(command)
	return command
}

func newList(e *console.Environment, directories *directories) (*list, error) {
	var l list
	var err error
	where := directories.list(e)
	if l.Policies, err = cryptopolicy.List(where); err != nil {
		return nil, err
	}
	if len(l.Policies) == 0 {
		return nil, fmt.Errorf("there are no policies in %s and %s: name another directory with --policy-dir", where[0].Path, where[1].Path)
	}
	if len(directories.names) == 0 {
		l.Applied, l.AppliedFrom, err = machine(e).Applied()
		if err != nil && !errors.Is(err, cryptopolicy.ErrNotConfigured) {
			return nil, err
		}
	}
	return &l, nil
}

func (l *list) writeText(w io.Writer, ascii bool) error {
	if l.Applied != "" {
		fmt.Fprintf(w, "Applied: %s (%s)\n\n", render.Visible(l.Applied, ascii), render.Visible(l.AppliedFrom, ascii))
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NAME\tKIND\tFILE")
	for _, p := range l.Policies {
		kind := "policy"
		if p.Module {
			kind = "module"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", render.Visible(p.Name, ascii), kind, render.Visible(p.File, ascii))
	}
	return t.Flush()
}
