// SPDX-License-Identifier: Apache-2.0

package query

import (
	"github.com/spf13/cobra"

	"crypto-auditing/src/internal/cli/console"
	"crypto-auditing/src/internal/cli/render"
	"crypto-auditing/src/internal/logstore"
)

// NewMonitorCommand returns crauctl monitor.
func NewMonitorCommand(e *console.Environment) *cobra.Command {
	f := queryFlags{lines: -1, follow: true, monitor: true, afterCursor: logstore.NewestWord}
	command := &cobra.Command{
		Use:   "monitor [KEY=VALUE...]",
		Short: "Show operations as they happen",
		Long: `Monitor shows cryptographic operations from now on, until it is interrupted. An
operation is shown when nothing has happened in it for 2 seconds. It goes on
when the broker is restarted.

Operations are selected as crauctl query does it.
` + console.ExitHelp,
		Example: `  crauctl monitor
  crauctl monitor --executable curl -o json
  crauctl monitor tls::protocol_version="TLS 1.2"`,
		Args: matchArguments,
		ValidArgsFunction: func(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
			return completeMatch(e, f.registry, typed)
		},
		RunE: func(command *cobra.Command, arguments []string) error {
			q, err := newQuery(e, &f, arguments, false)
			if err != nil {
				return err
			}
			return q.run(command.Context())
		},
	}
	flags := command.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.directory, "directory", "", "watch the log in directory `DIR` instead of asking the broker")
	render.Forms().Option(command, &f.output)
	flags.StringArrayVar(&f.executables, "executable", nil, "show what the program `NAME` does; may be repeated")
	flags.StringArrayVar(&f.contexts, "context", nil, "show operations with a context `NAME`, or tls::*; may be repeated")
	flags.StringArrayVar(&f.registry, "registry", nil, "add the registry `FILE` to the known contexts and keys")

	console.MustComplete(command, "context", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return completeContext(e, f.registry)
	})
	return command
}
