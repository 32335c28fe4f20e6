// SPDX-License-Identifier: Apache-2.0

package agentctl

import (
	"context"
	"errors"
	"fmt"
	"time"

	"crypto-auditing/src/internal/agentunit"
	"crypto-auditing/src/internal/cli/console"
	"crypto-auditing/src/internal/status"
)

// startPause is the polling interval for a service that is starting.
const startPause = 50 * time.Millisecond

// queryUnit gets the agent's state from the service manager. While the service is
// starting, it waits for the result.
func queryUnit(ctx context.Context, e *console.Environment) agentunit.Status {
	waiting, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	for {
		unit := agentunit.Query(ctx, e.Getenv("DBUS_SYSTEM_BUS_ADDRESS"), e.Systemd)
		if unit.State != agentunit.Starting {
			return unit
		}
		select {
		case <-waiting.Done():
			return unit
		case <-time.After(startPause):
		}
	}
}

// errAgentStopped names the remedy for a stopped agent.
var errAgentStopped = errors.New("the agent is stopped: start it by systemctl start " + agentunit.Service)

// runningStatus gets the agent's status if the agent is running. A connection to the
// socket would start a stopped one.
func (f *agentFlags) runningStatus(ctx context.Context, e *console.Environment) (*status.Agent, agentunit.Status, error) {
	unit := queryUnit(ctx, e)
	if unit.State.MayConnect() {
		agent, err := f.status(ctx)
		if unit.State == agentunit.Unmanaged {
			unit = agentunit.Status{}
			if err == nil {
				unit.State, unit.Since = agentunit.Running, agent.Started
			}
			return agent, unit, err
		}
		if err == nil || ctx.Err() != nil {
			return agent, unit, err
		}
		// If the agent has ended meanwhile, its state explains the error better.
		if unit = queryUnit(ctx, e); unit.State.MayConnect() {
			return nil, unit, err
		}
	}
	switch unit.State {
	case agentunit.Stopped:
		return nil, unit, errAgentStopped
	case agentunit.Failed:
		return nil, unit, fmt.Errorf("cannot get the status: the agent fails: %s", printable(unit.Reason))
	}
	return nil, unit, fmt.Errorf("cannot get the status: the state of the agent is unknown: %s: to ask an agent that systemd does not run, name its socket by --socket",
		printable(unit.Reason))
}

// unit prints the state of an agent that does not reply.
func (p *statusPrinter) unit(unit agentunit.Status) {
	dot := "○"
	if unit.State == agentunit.Failed {
		dot = "×"
	}
	p.name(dot, "", "crau-agent")
	state := string(unit.State)
	if !unit.Since.IsZero() {
		state += " since " + p.since(unit.Since)
	}
	p.line("State", "%s", state)
	if unit.Reason != "" {
		p.line("Trouble", "%s", printable(unit.Reason))
	}
}
