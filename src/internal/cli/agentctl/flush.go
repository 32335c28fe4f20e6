// SPDX-License-Identifier: Apache-2.0

package agentctl

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"crypto-auditing/src/internal/cli/console"
	"crypto-auditing/src/internal/varlinkservice/agentclient"
)

// NewFlushCommand returns crauctl flush.
func NewFlushCommand(e *console.Environment) *cobra.Command {
	var f agentFlags
	command := &cobra.Command{
		Use:   "flush",
		Short: "Write all captured events to the log, and print the cursor",
		Long: `Flush makes the agent write everything captured so far to the log and sync it.
It prints the cursor after the last entry, for --after-cursor.
` + exitAgentHelp,
		Example: `  cursor=$(crauctl flush); make test; crauctl flush
  crauctl query --directory /var/log/crypto-auditing --after-cursor "$cursor"`,
		Args: console.NoArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			var reply struct {
				Cursor string `json:"cursor"`
			}
			return f.do(command.Context(), e, "flush", &reply, &reply.Cursor, func(ctx context.Context, c agentclient.Client) error {
				cursor, err := c.Flush(ctx)
				reply.Cursor = cursor.String()
				return err
			})
		},
	}
	f.output.Add(command)
	f.addSocket(command)
	return command
}

// do calls a method that replies with one string and prints that, or the reply as JSON.
func (f *agentFlags) do(ctx context.Context, e *console.Environment, action string, reply any, text *string,
	method func(context.Context, agentclient.Client) error,
) error {
	if err := f.output.Check(); err != nil {
		return err
	}
	if err := f.call(ctx, action, method); err != nil {
		return err
	}
	return f.output.Write(e.Stdout, console.Report{
		JSON: []any{reply},
		Text: func(w io.Writer) error {
			_, err := fmt.Fprintln(w, printable(*text))
			return err
		},
	})
}
