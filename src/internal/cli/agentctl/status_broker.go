// SPDX-License-Identifier: Apache-2.0

package agentctl

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"crypto-auditing/src/client"
	"crypto-auditing/src/internal/agentunit"
	"crypto-auditing/src/internal/cli/bus"
	"crypto-auditing/src/internal/cli/console"
	"crypto-auditing/src/internal/cli/render"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/status"
)

// wholeStatus is the status of agent and broker, or the error with which each could not
// be queried.
type wholeStatus struct {
	agent *status.Agent
	// unit is the agent's service. Its state is empty if it was not queried.
	unit        agentunit.Status
	agentError  error
	broker      *client.Status
	brokerError error
	// inventory is nil if it is not installed or was not queried.
	inventory *inventoryStatus
}

// statusForms is the JSON form: the agent's state, its status, and the broker's status
// as a member.
type statusForms struct {
	AgentState string    `json:"agentState,omitempty"`
	AgentSince time.Time `json:"agentSinceUSec,omitempty"`
	*status.Agent
	Broker      *status.Broker   `json:"broker,omitempty"`
	BrokerError string           `json:"brokerError,omitempty"`
	Inventory   *inventoryStatus `json:"inventory,omitempty"`
}

// queryBroker gets the broker's status.
func queryBroker(ctx context.Context, e *console.Environment) (*client.Status, error) {
	answering, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	c, err := bus.Connect(answering, e)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	s, err := c.Status(answering)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return nil, fmt.Errorf("the broker has not answered within %v: see systemctl status crypto-auditing-broker", answerTime)
	}
	if err != nil {
		return nil, bus.Error(err)
	}
	return &s, nil
}

func (s *wholeStatus) forms() *statusForms {
	f := statusForms{AgentState: string(s.unit.State), AgentSince: s.unit.Since, Agent: s.agent, Inventory: s.inventory}
	if s.brokerError != nil {
		f.BrokerError = s.brokerError.Error()
	}
	if s.broker != nil {
		f.Broker = &s.broker.Broker
	}
	return &f
}

// broker prints the broker's status, after the agent's.
func (p *statusPrinter) broker(s *wholeStatus) {
	b := s.broker
	if b == nil {
		p.name("○", "", "crau-broker")
		p.line("Trouble", "%s", printable(s.brokerError.Error()))
		return
	}
	dot := dotGood
	switch {
	case b.StoreError != "":
		dot = dotBad
	case b.AgentError != "":
		dot = dotWarn
	}
	p.name("●", dot, "crau-broker "+printable(b.Version))
	p.line("State", "serving since %s", p.since(b.Started))
	if b.StoreError != "" {
		p.line("Trouble", "%s", printable(b.StoreError))
	}
	if b.AgentError != "" {
		p.line("Trouble", "the agent cannot be asked: %s", printable(b.AgentError))
	}
	p.line("Clients", "%s, %s attached; %s",
		render.Counted(b.Subscriptions, "subscription"), grouped(b.Attached), render.Counted(b.Streams, "stream"))
	if s.agent == nil {
		p.line("Log", "%s in %s, %s free", render.Size(int64(b.DiskUsage)), render.Counted(b.Segments, "segment"), render.Size(int64(b.DiskFree)))
		p.line("Newest", "%s", printable(string(b.Newest)))
		p.line("Oldest", "%s", printable(string(b.Oldest)))
	}
	name := "Lost"
	for _, reason := range slices.Sorted(maps.Keys(b.Lost)) {
		p.line(name, "%s (%s), by the log", render.Counted(b.Lost[reason], "event"), printable(reason))
		name = ""
	}
	p.gaps(b)
}

// gaps prints the last unrecorded time and the last removal that the log reports.
func (p *statusPrinter) gaps(b *client.Status) {
	if n := len(b.Unrecorded); n > 0 {
		last := &b.Unrecorded[n-1]
		p.line("Gap", "%s", render.NewUnrecorded(event.Unrecorded{
			From: last.From.UnixNano(), To: last.To.UnixNano(), Reason: event.UnrecordedReason(last.Reason), Library: last.Library,
		}).Text(p.location))
		if b.UnrecordedCount > 1 {
			p.line("", "the last of %s; nothing was recorded for %v in all", render.Unrecorded.Counted(b.UnrecordedCount),
				b.UnrecordedTotal.Round(time.Second/10))
		}
	}
	if r := b.Removed; r != nil {
		by := event.Removal{User: r.User, UID: r.UID, Policy: r.Policy}
		p.line("Removed", "%s (%s)", render.Entries(r.First, r.Last, "", ""), render.RemovedBy(&by, r.Time.UnixNano(), p.location))
	}
}

// name prints the heading of a program's part.
func (p *statusPrinter) name(dot, color, text string) {
	if p.color && color != "" {
		dot = color + dot + dotNormal
	}
	fmt.Fprintf(&p.b, "%s %s\n", dot, text)
}

// whole queries agent and broker concurrently: the broker may have to be started first.
func (f *agentFlags) whole(ctx context.Context, e *console.Environment) *wholeStatus {
	var s wholeStatus
	done := make(chan struct{})
	go func() {
		defer close(done)
		if s.broker, s.brokerError = queryBroker(ctx, e); s.broker != nil {
			s.inventory = queryInventory(ctx, e)
		}
	}()
	s.agent, s.unit, s.agentError = f.runningStatus(ctx, e)
	<-done
	return &s
}
