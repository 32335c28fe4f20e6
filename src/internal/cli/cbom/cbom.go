// SPDX-License-Identifier: Apache-2.0

// Package cbom implements crauctl cbom, which writes a cryptography bill of materials.
package cbom

import (
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"crypto-auditing/src/internal/cli/console"
	"crypto-auditing/src/internal/cli/observed"
	"crypto-auditing/src/internal/cli/output"
	"crypto-auditing/src/internal/inventory/cbom"
)

// NewCommand returns crauctl cbom. version is the version of the build.
func NewCommand(e *console.Environment, version string) *cobra.Command {
	var flags observed.Flags
	var spec, name string
	var specs []string
	for _, s := range cbom.Specs() {
		specs = append(specs, string(s))
	}
	var noPager bool
	command := &cobra.Command{
		Use:   "cbom",
		Short: "Write a cryptography bill of materials of what programs used",
		Long: `Cbom writes a CycloneDX bill of materials in JSON: programs, libraries,
protocols, algorithms and keys that were observed, with the number, times and
places of their use as evidence, and their dependencies. It lists only what was
recorded: other cryptography may be in use. Properties describe how complete
the record is. The same record results in the same bytes.
` + observed.Help,
		Example: `  crauctl cbom --since -30d > machine.cdx.json
  crauctl cbom --spec 1.7 --name web1.example.com`,
		Args: console.NoArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			options := cbom.Options{Spec: cbom.Spec(spec), Version: version, Name: name}
			if !slices.Contains(specs, spec) {
				return console.Usagef("unknown --spec %q: there are %s", spec, strings.Join(specs, ", "))
			}
			var err error
			if options.Registry, err = flags.Registry(e); err != nil {
				return err
			}
			all, err := observed.Load(command.Context(), e, &flags)
			if err != nil {
				return err
			}
			return output.Page(e, !noPager, func(w io.Writer) error { return cbom.Write(w, all, options) })
		},
	}
	flags.Add(command, e)
	command.Flags().StringVar(&spec, "spec", string(cbom.Spec16), "the version of CycloneDX, `VERSION`: 1.6 or 1.7")
	command.Flags().StringVar(&name, "name", "", "name what was observed `NAME` in the bill of materials, such as a machine")
	command.Flags().BoolVar(&noPager, "no-pager", false, "do not show the output in a pager")
	console.MustComplete(command, "spec", cobra.FixedCompletions(specs, cobra.ShellCompDirectiveNoFileComp))
	return command
}
