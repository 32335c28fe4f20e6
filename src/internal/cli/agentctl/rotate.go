// SPDX-License-Identifier: Apache-2.0

package agentctl

import (
	"context"

	"github.com/spf13/cobra"

	"crypto-auditing/src/internal/cli/console"
	"crypto-auditing/src/internal/varlinkservice/agentclient"
)

// NewRotateCommand returns crauctl rotate.
func NewRotateCommand(e *console.Environment) *cobra.Command {
	var f agentFlags
	command := &cobra.Command{
		Use:   "rotate",
		Short: "Start a new segment of the log, and print its name",
		Long: `Rotate flushes the log and makes the agent start a new segment. It prints the
file name of the new segment. The previous segment is sealed: compressed
further, indexed, and never changed again. Only root may rotate.
` + exitAgentHelp,
		Args: console.NoArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			var reply struct {
				Segment string `json:"segment"`
			}
			return f.do(command.Context(), e, "rotate the log", &reply, &reply.Segment, func(ctx context.Context, c agentclient.Client) (err error) {
				reply.Segment, err = c.Rotate(ctx)
				return err
			})
		},
	}
	f.output.Add(command)
	f.addSocket(command)
	return command
}
