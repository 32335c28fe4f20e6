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
	api "crypto-auditing/src/internal/varlinkservice/orgcryptoauditingagent"
)

// wholeStatus is what agent and broker say. Of those who could not be asked,
// there is an error.
type wholeStatus struct {
	agent *api.Status
	// unit is the agent's service; without a state it was not asked about.
	unit        agentunit.Status
	agentError  error
	broker      *client.Status
	brokerError error
}

// statusJSON is the JSON form: the agent's state, its status, and the broker as
// a member.
type statusJSON struct {
	AgentState     string `json:"agentState,omitempty"`
	AgentSinceUSec int64  `json:"agentSinceUSec,omitempty"`
	*api.Status
	Broker      *brokerJSON `json:"broker,omitempty"`
	BrokerError string      `json:"brokerError,omitempty"`
}

type brokerJSON struct {
	Version     string            `json:"version"`
	StartedUSec int64             `json:"startedUSec"`
	Oldest      string            `json:"oldest"`
	Newest      string            `json:"newest"`
	Segments    uint64            `json:"segments"`
	DiskUsage   uint64            `json:"diskUsage"`
	DiskFree    uint64            `json:"diskFree"`
	EventsLost  uint64            `json:"eventsLost"`
	Lost        map[string]uint64 `json:"lost"`
	// LostSinceUSec is when the log begins, to which what follows is confined,
	// too. Unrecorded are the newest.
	LostSinceUSec   int64            `json:"lostSinceUSec"`
	Unrecorded      []unrecordedJSON `json:"unrecorded"`
	UnrecordedCount uint64           `json:"unrecordedCount"`
	UnrecordedUSec  int64            `json:"unrecordedUSec"`
	Removed         *removedJSON     `json:"removed,omitempty"`
	Scanning        bool             `json:"scanning,omitempty"`
	Subscriptions   uint64           `json:"subscriptions"`
	Attached        uint64           `json:"attached"`
	Streams         uint64           `json:"streams"`
	StoreError      string           `json:"storeError,omitempty"`
	AgentError      string           `json:"agentError,omitempty"`
}

// unrecordedJSON is a time without recording; of a library if there is one.
type unrecordedJSON struct {
	FromUSec int64  `json:"fromUSec"`
	ToUSec   int64  `json:"toUSec"`
	Reason   string `json:"reason"`
	Library  string `json:"library,omitempty"`
}

// removedJSON is the last removal.
type removedJSON struct {
	TimeUSec int64  `json:"timeUSec"`
	User     string `json:"user"`
	UID      uint32 `json:"uid"`
	Policy   string `json:"policy"`
	First    uint64 `json:"first"`
	Last     uint64 `json:"last"`
	Segments uint64 `json:"segments"`
	Bytes    uint64 `json:"bytes"`
}

// gaps fills in what the log does not hold.
func (j *brokerJSON) gaps(b *client.Status) {
	if !b.LostSince.IsZero() {
		j.LostSinceUSec = b.LostSince.UnixMicro()
	}
	j.Unrecorded = []unrecordedJSON{}
	for _, u := range b.Unrecorded {
		j.Unrecorded = append(j.Unrecorded, unrecordedJSON{u.From.UnixMicro(), u.To.UnixMicro(), u.Reason, u.Library})
	}
	j.UnrecordedCount, j.UnrecordedUSec, j.Scanning = b.UnrecordedCount, b.UnrecordedTotal.Microseconds(), b.Scanning
	if r := b.Removed; r != nil {
		j.Removed = &removedJSON{r.Time.UnixMicro(), r.User, r.UID, r.Policy, r.First, r.Last, r.Segments, r.Bytes}
	}
}

// askBroker asks the broker how it is.
func askBroker(ctx context.Context, e *console.Environment) (*client.Status, error) {
	asking, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	c, err := bus.Connect(asking, e)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	s, err := c.Status(asking)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return nil, fmt.Errorf("the broker has not answered within %v: see systemctl status crypto-auditing-broker", answerTime)
	}
	if err != nil {
		return nil, bus.Error(err)
	}
	return &s, nil
}

func (s *wholeStatus) json() statusJSON {
	j := statusJSON{Status: s.agent, AgentState: string(s.unit.State)}
	if !s.unit.Since.IsZero() {
		j.AgentSinceUSec = s.unit.Since.UnixMicro()
	}
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
		j.Broker.gaps(b)
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

// gaps shows the last time without recording and the last removal that the log
// reports.
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

// name begins the part of a program.
func (p *statusPrinter) name(dot, color, text string) {
	if p.color && color != "" {
		dot = color + dot + dotNormal
	}
	fmt.Fprintf(&p.b, "%s %s\n", dot, text)
}

// whole asks agent and broker at the same time: the broker may have to be
// started.
func (f *agentFlags) whole(ctx context.Context, e *console.Environment) *wholeStatus {
	var s wholeStatus
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.broker, s.brokerError = askBroker(ctx, e)
	}()
	s.agent, s.unit, s.agentError = f.runningStatus(ctx, e)
	<-done
	return &s
}
