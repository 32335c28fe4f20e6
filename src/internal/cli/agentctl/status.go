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
		Short: "Show the state of agent and broker, and what was recorded and lost",
		Long: `Status shows the state of the agent: the libraries it watches, what it has
recorded and lost since it started, and what that costs. All hits of probes
are recorded, lost, or on their way into the log. It also shows the clients of
the broker and the progress of the inventory, if that runs, unless --socket
names another agent than this machine's.

It never starts the agent: it asks the service manager first whether the agent
runs. For a stopped agent it shows since when, for one that fails the reason,
and what the broker finds in the log.

At sockets it counts ends of connections: a connection of this machine with
itself has two. The programs with most TLS handshakes are listed with how these
were captured: at a socket, in a library, or both, with the same or different
values; the last column counts handshakes that agent.conf excludes.

The latency is the time from the first event of a group to its commit: half of
all groups took at most the first time, 99 % at most the second. It includes the
time for which the agent collects the events of a group.
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
	err := f.call(ctx, "get the status", func(ctx context.Context, c agentclient.Client) (err error) {
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
