// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/varlink/go/varlink"

	"crypto-auditing/src/internal/cli/terminal"
	api "crypto-auditing/src/internal/varlinkservice/orgcryptoauditingagent"
)

func newStatusCommand(e *Environment) *cobra.Command {
	var f agentFlags
	command := &cobra.Command{
		Use:   "status",
		Short: "Tell what the agent does, what it has recorded and lost",
		Long: `Status asks the agent what it does: which libraries it watches, what it has
recorded and lost since it started, and what that costs. All hits of probes
are recorded, lost, or on their way into the log.

The latency is from the first probe of a group of events to its commit: half
of all groups took at most the first of the times, 99 % at most the second.
It includes the time that the agent gathers the events of a group.
` + exitAgentHelp,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			if err := f.checkOutput(); err != nil {
				return err
			}
			status, err := f.status(command.Context())
			if err != nil {
				return err
			}
			if f.output != agentShort {
				return f.printJSON(e.Stdout, status)
			}
			p := statusPrinter{now: e.Now(), location: e.Location}
			p.color = terminal.Is(e.Stdout) && terminal.HasColor(e.getenv)
			if err := p.print(e.Stdout, status); err != nil {
				return fmt.Errorf("cannot write output: %w", err)
			}
			return nil
		},
	}
	f.addOutput(command)
	f.addSocket(command)
	return command
}

// status asks for the agent's status.
func (f *agentFlags) status(ctx context.Context) (*api.Status, error) {
	var status api.Status
	err := f.ask(ctx, "get the status", func(ctx context.Context, c *varlink.Connection) (err error) {
		status, err = api.GetStatus().Call(ctx, c)
		return err
	})
	if err != nil {
		return nil, err
	}
	if h := &status.Latency; len(h.Counts) != len(h.BoundsUSec)+1 {
		return nil, fmt.Errorf("cannot understand the status: a histogram with %d bounds has %d counts", len(h.BoundsUSec), len(h.Counts))
	}
	return &status, nil
}
