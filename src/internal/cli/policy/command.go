// SPDX-License-Identifier: Apache-2.0

// Package policy implements crauctl policy, which lists the programs that would have to negotiate differently
// under a policy of crypto-policies, and the policies.
package policy

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"crypto-auditing/src/internal/cli/console"
	"crypto-auditing/src/internal/cli/observed"
	"crypto-auditing/src/internal/cli/output"
	"crypto-auditing/src/internal/cli/terminal"
	"crypto-auditing/src/internal/inventory/cryptopolicy"
	"crypto-auditing/src/internal/inventory/policycheck"
	"crypto-auditing/src/internal/inventory/report"
)

// NewCommand returns crauctl policy.
func NewCommand(e *console.Environment) *cobra.Command {
	command := &cobra.Command{
		Use:   "policy",
		Short: "Check programs against a cryptographic policy",
		Long: `Policy check shows which programs would have to negotiate differently under a
system-wide policy (crypto-policies(7)); policy list lists the policies.`,
		Args: console.NoArguments,
		RunE: func(command *cobra.Command, _ []string) error { return command.Help() },
	}
	command.AddCommand(newCheckCommand(e), newListCommand(e))
	return command
}

// directories is the option --policy-dir.
type directories struct{ names []string }

func (d *directories) add(command *cobra.Command) {
	command.Flags().StringArrayVar(&d.names, "policy-dir", nil,
		"look for policies in `DIR`, such as a copy of another machine's /usr/share/crypto-policies; may be repeated")
	console.CompleteDirectories(command, "policy-dir")
}

// list returns the directories with policies: from the option, else from the machine. The option may name
// the directory itself or its parent.
func (d *directories) list(e *console.Environment) (list []cryptopolicy.Directory) {
	if len(d.names) == 0 {
		return machine(e).Directories()
	}
	for _, name := range d.names {
		list = append(list, cryptopolicy.Directory{Path: filepath.Join(name, "policies"), Distribution: true},
			cryptopolicy.Directory{Path: name, Distribution: true})
	}
	return list
}

func machine(e *console.Environment) cryptopolicy.Machine {
	return cryptopolicy.Machine{Etc: e.PolicyEtc, Share: e.PolicyShare}
}

// check has the options of crauctl policy check.
type check struct {
	observed    observed.Flags
	directories directories
	form        string
	noPager     bool
}

func newCheckCommand(e *console.Environment) *cobra.Command {
	var c check
	command := &cobra.Command{
		Use:   "check [OPTIONS] [POLICY[:MODULE]...]",
		Short: "Show which programs would have to negotiate differently under a policy",
		Long: `Check compares what programs used with a policy of crypto-policies: a name with
modules, such as DEFAULT:NO-PQ, or a FILE.pol. The default is the policy of this
machine.

An operation is allowed; or denied, with the property, the scope and the line of
the policy; or undecidable, if a value was not recorded, or if policies treat
libraries differently and the library is unknown. A policy sets defaults, and a
peer might have accepted another choice: a program whose operations are denied
would have to negotiate differently. Whether it already does so with other peers
is shown as well.
` + observed.Help + `  4    the policy denies what a program used
`,
		Example: `  crauctl policy check FUTURE
  crauctl policy check --since -30d DEFAULT:NO-PQ
  crauctl policy check -o junit --policy-dir /srv/rhel10/crypto-policies FIPS`,
		Args: atMostOne,
		ValidArgsFunction: func(_ *cobra.Command, arguments []string, begun string) ([]string, cobra.ShellCompDirective) {
			if len(arguments) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return complete(c.directories.list(e), begun)
		},
		DisableFlagsInUseLine: true,
		RunE: func(command *cobra.Command, arguments []string) error {
			return c.run(command, e, arguments)
		},
	}
	c.observed.Add(command, e)
	c.directories.add(command)
	forms().Option(command, &c.form)
	command.Flags().BoolVar(&c.noPager, "no-pager", false, "do not show the output in a pager")
	return command
}

func atMostOne(_ *cobra.Command, arguments []string) error {
	if len(arguments) > 1 {
		return console.Usagef("policy check takes one policy, but %q is another: write modules as %s:%s", arguments[1], arguments[0], arguments[1])
	}
	return nil
}

func (c *check) run(command *cobra.Command, e *console.Environment, arguments []string) error {
	write, err := forms().Named(c.form)
	if err != nil {
		return err
	}
	name := ""
	if len(arguments) > 0 {
		name = arguments[0]
	}
	policy, err := c.policy(e, name)
	if err != nil {
		return err
	}
	o, err := observed.Load(command.Context(), e, &c.observed)
	if err != nil {
		return err
	}
	result := policycheck.Check(policy, report.Printable(o))
	style := style{location: e.Location, color: terminal.Is(e.Stdout) && terminal.HasColor(e.Getenv), now: e.Now()}
	if err := output.Page(e, !c.noPager, func(w io.Writer) error { return write(w, result, style) }); err != nil {
		return err
	}
	if result.Totals.Denied > 0 {
		return &console.StatusError{Status: console.ExitFindings}
	}
	return nil
}

// policy reads the policy with a name, or the one that the machine applies.
func (c *check) policy(e *console.Environment, name string) (*cryptopolicy.Policy, error) {
	if name == "" {
		if len(c.directories.names) > 0 {
			return nil, console.Usagef("name the policy to take from --policy-dir: crauctl policy list shows which there are")
		}
		var err error
		if name, _, err = machine(e).Applied(); errors.Is(err, cryptopolicy.ErrNotConfigured) {
			return nil, fmt.Errorf("%w: name the policy to compare with", err)
		} else if err != nil {
			return nil, err
		}
	}
	policy, err := cryptopolicy.Load(name, c.directories.list(e))
	if errors.As(err, new(*cryptopolicy.NotFoundError)) {
		return nil, console.UsageError{Err: err}
	}
	return policy, err
}

// complete returns the names of policies, or of modules after a colon.
func complete(directories []cryptopolicy.Directory, begun string) (names []string, directive cobra.ShellCompDirective) {
	if strings.Contains(begun, "/") && !strings.Contains(begun, ":") {
		return []string{"pol"}, cobra.ShellCompDirectiveFilterFileExt
	}
	entries, err := cryptopolicy.List(directories)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	before, _, module := cutLast(begun, ":")
	for _, entry := range entries {
		name := entry.Name
		if module {
			name = before + ":" + name
		}
		if entry.Module == module && strings.HasPrefix(name, begun) {
			names = append(names, name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}

func cutLast(text, separator string) (before, after string, found bool) {
	if i := strings.LastIndex(text, separator); i >= 0 {
		return text[:i], text[i+len(separator):], true
	}
	return text, "", false
}
