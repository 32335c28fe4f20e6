// SPDX-License-Identifier: Apache-2.0

package query

import (
	"github.com/spf13/cobra"

	"crypto-auditing/src/internal/cli/console"
	"crypto-auditing/src/internal/logstore"
)

// NewMonitorCommand returns crauctl monitor.
func NewMonitorCommand(e *console.Environment) *cobra.Command {
	f := queryFlags{lines: console.AllLines, follow: true, monitor: true, afterCursor: logstore.NewestWord}
	command := &cobra.Command{
		Use:   "monitor [KEY=VALUE...]",
		Short: "Show operations as they happen",
		Long: `Monitor shows new cryptographic operations until it is interrupted. An operation
is shown after 2 seconds without a new event in it. Monitor continues after a
restart of the broker.

Operations are selected as by crauctl query.
` + console.ExitHelp,
		Example: `  crauctl monitor
  crauctl monitor --executable curl -o json
  crauctl monitor tls::protocol_version="TLS 1.2"`,
		RunE: func(command *cobra.Command, arguments []string) error {
			q, err := newQuery(e, &f, arguments, command.Flags().Changed)
			if err != nil {
				return err
			}
			return q.run(command.Context())
		},
	}
	flags := command.Flags()
	flags.SortFlags = false
	flags.StringVarP(&f.directory, "directory", "D", "", "watch the log in directory `DIR` instead of asking the broker")
	console.CompleteDirectories(command, "directory")
	f.addOutput(command)
	f.options.Add(command, e)
	f.completeNames(command, e)
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "suppress hints about names that may be mistyped")
	return command
}
