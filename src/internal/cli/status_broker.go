// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"crypto-auditing/src/client"
	"crypto-auditing/src/internal/cli/render"
	api "crypto-auditing/src/internal/varlinkservice/orgcryptoauditingagent"
)

// wholeStatus is what agent and broker say. Of those who could not be asked,
// there is an error.
type wholeStatus struct {
	agent       *api.Status
	agentError  error
	broker      *client.Status
	brokerError error
}

// statusJSON is the JSON form: what the agent says, and the broker as a member.
type statusJSON struct {
	*api.Status
	Broker      *brokerJSON `json:"broker,omitempty"`
	BrokerError string      `json:"brokerError,omitempty"`
}

type brokerJSON struct {
	Version       string            `json:"version"`
	StartedUSec   int64             `json:"startedUSec"`
	Oldest        string            `json:"oldest"`
	Newest        string            `json:"newest"`
	Segments      uint64            `json:"segments"`
	DiskUsage     uint64            `json:"diskUsage"`
	DiskFree      uint64            `json:"diskFree"`
	EventsLost    uint64            `json:"eventsLost"`
	Lost          map[string]uint64 `json:"lost"`
	Subscriptions uint64            `json:"subscriptions"`
	Attached      uint64            `json:"attached"`
	Streams       uint64            `json:"streams"`
	StoreError    string            `json:"storeError,omitempty"`
	AgentError    string            `json:"agentError,omitempty"`
}

// askBroker asks the broker how it is.
func askBroker(ctx context.Context, e *Environment) (*client.Status, error) {
	asking, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	c, err := e.connect(asking)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	s, err := c.Status(asking)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return nil, fmt.Errorf("the broker has not answered within %v: see systemctl status crypto-auditing-broker", answerTime)
	}
	if err != nil {
		return nil, busError(err)
	}
	return &s, nil
}

func (s *wholeStatus) json() statusJSON {
	j := statusJSON{Status: s.agent}
	if s.brokerError != nil {
		j.BrokerError = s.brokerError.Error()
	}
	if b := s.broker; b != nil {
		j.Broker = &brokerJSON{
			Version: b.Version, StartedUSec: b.Started.UnixMicro(), Oldest: string(b.Oldest), Newest: string(b.Newest),
			Segments: b.Segments, DiskUsage: b.DiskUsage, DiskFree: b.DiskFree, EventsLost: b.EventsLost, Lost: b.Lost,
			Subscriptions: b.Subscriptions, Attached: b.Attached, Streams: b.Streams,
			StoreError: b.StoreError, AgentError: b.AgentError,
		}
	}
	return j
}

// broker shows what the broker says below what the agent does.
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
	p.line("State", "serving since %s", p.since(b.Started.UnixMicro()))
	if b.StoreError != "" {
		p.line("Trouble", "%s", printable(b.StoreError))
	}
	if b.AgentError != "" {
		p.line("Trouble", "the agent cannot be asked: %s", printable(b.AgentError))
	}
	p.line("Clients", "%s, %s attached; %s",
		render.Counted(b.Subscriptions, "subscription"), grouped(int64(b.Attached)), render.Counted(b.Streams, "stream"))
	if s.agent == nil {
		p.line("Log", "%s in %s, %s free", size(int64(b.DiskUsage)), render.Counted(b.Segments, "segment"), size(int64(b.DiskFree)))
		p.line("Newest", "%s", printable(string(b.Newest)))
		p.line("Oldest", "%s", printable(string(b.Oldest)))
	}
	name := "Lost"
	for _, reason := range slices.Sorted(maps.Keys(b.Lost)) {
		p.line(name, "%s (%s), by the log", render.Counted(b.Lost[reason], "event"), printable(reason))
		name = ""
	}
}

// name begins the part of a program.
func (p *statusPrinter) name(dot, color, text string) {
	if p.color && color != "" {
		dot = color + dot + dotNormal
	}
	fmt.Fprintf(&p.b, "%s %s\n", dot, text)
}

// whole asks agent and broker at the same time: each may have to be started.
func (f *agentFlags) whole(ctx context.Context, e *Environment) *wholeStatus {
	var s wholeStatus
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.broker, s.brokerError = askBroker(ctx, e)
	}()
	// Asking starts an agent that fails once more, to no avail.
	why := failing(ctx, e)
	if why == "" {
		if s.agent, s.agentError = f.status(ctx); s.agentError != nil && ctx.Err() == nil {
			why = failing(ctx, e)
		}
	}
	if why != "" {
		s.agentError = fmt.Errorf("cannot get the status: the agent fails: %s", printable(why))
	}
	<-done
	return &s
}
