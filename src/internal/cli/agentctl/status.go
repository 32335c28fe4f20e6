// SPDX-License-Identifier: Apache-2.0

package agentctl

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"crypto-auditing/src/internal/agentunit"
	"crypto-auditing/src/internal/cli/console"
	"crypto-auditing/src/internal/cli/terminal"
	"crypto-auditing/src/internal/status"
	"crypto-auditing/src/internal/varlinkservice/agentclient"
)

// NewStatusCommand returns crauctl status.
func NewStatusCommand(e *console.Environment) *cobra.Command {
	var f agentFlags
	command := &cobra.Command{
		Use:   "status",
		Short: "Show what agent and broker do, what was recorded and lost",
		Long: `Status asks the agent what it does: which libraries it watches, what it has
recorded and lost since it started, and what that costs. All hits of probes
are recorded, lost, or on their way into the log. It asks the broker, too, who
is served, and the inventory, if it runs, how much it has counted, unless
--socket names another agent than that of this machine.

It never starts the agent: the service manager is asked first whether it runs.
Of an agent that is stopped it shows since when, of one that fails the reason,
and what the broker finds in the log.

At sockets it counts ends of connections: one of this machine with itself has two.
The programs with most TLS handshakes are listed by who saw those: a socket, a
library, or both, with the same values or different ones; the last column is what
agent.conf excludes.

The latency is from the first probe of a group of events to its commit: half
of all groups took at most the first of the times, 99 % at most the second.
It includes the time that the agent gathers the events of a group.
` + exitAgentHelp,
		Args: console.NoArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			if err := f.output.Check(); err != nil {
				return err
			}
			var s *wholeStatus
			if command.Flags().Changed("socket") {
				s = &wholeStatus{}
				s.agent, s.agentError = f.status(command.Context())
			} else {
				s = f.whole(command.Context(), e)
			}
			return f.show(e, s)
		},
	}
	f.output.Add(command)
	f.addSocket(command)
	return command
}

// show prints the status. The error is the reason why the agent did not reply.
func (f *agentFlags) show(e *console.Environment, s *wholeStatus) error {
	known := s.unit.State != "" && s.unit.State != agentunit.Unknown
	if s.agent == nil && s.broker == nil && !known {
		return s.agentError
	}
	text, err := status.JSON(s.forms())
	if err != nil {
		return err
	}
	err = f.output.Write(e.Stdout, console.Report{
		JSON: []any{text},
		Text: func(w io.Writer) error {
			p := statusPrinter{now: e.Now(), location: e.Location}
			p.color = terminal.Is(e.Stdout) && terminal.HasColor(e.Getenv)
			return p.whole(w, s)
		},
	})
	if err != nil {
		return err
	}
	return s.agentError
}

// whole prints the status of agent and broker.
func (p *statusPrinter) whole(w io.Writer, s *wholeStatus) error {
	switch {
	case s.agent != nil:
		p.agent(s.agent)
	case s.unit.State != "":
		p.unit(s.unit)
	}
	if s.broker != nil || s.brokerError != nil {
		if p.b.Len() > 0 {
			p.b.WriteByte('\n')
		}
		p.broker(s)
	}
	if s.inventory != nil {
		p.b.WriteByte('\n')
		p.inventory(s.inventory)
	}
	_, err := p.b.WriteTo(w)
	return err
}

// status gets the agent's status.
func (f *agentFlags) status(ctx context.Context) (*status.Agent, error) {
	var s status.Agent
	err := f.ask(ctx, "get the status", func(ctx context.Context, c agentclient.Client) (err error) {
		s, err = c.Status(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	if h := &s.Latency; len(h.Counts) != len(h.Bounds)+1 {
		return nil, fmt.Errorf("cannot understand the status: a histogram with %d bounds has %d counts", len(h.Bounds), len(h.Counts))
	}
	return &s, nil
}
