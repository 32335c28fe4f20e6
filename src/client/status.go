// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"fmt"
	"time"

	"github.com/godbus/dbus/v5"
)

// Status is what there is to know about broker, agent and log.
type Status struct {
	// Version is that of the broker, Started when it did.
	Version string
	Started time.Time
	// Oldest and Newest are cursors at the ends of the log.
	Oldest, Newest Cursor
	// Segments is the number of files of the log, DiskUsage their bytes and
	// DiskFree the bytes that the file system has left.
	Segments, DiskUsage, DiskFree uint64
	// EventsLost is how many events were lost in the time of the retained log,
	// Lost how many by reason, LostSince when that log begins.
	EventsLost uint64
	Lost       map[string]uint64
	LostSince  time.Time
	// Unrecorded are the newest times in which nothing, or a library, was not
	// recorded. UnrecordedCount is how many the retained log has in all,
	// UnrecordedTotal how long nothing was recorded, in all.
	Unrecorded      []Unrecorded
	UnrecordedCount uint64
	UnrecordedTotal time.Duration
	// Removed is the newest removal of a part of the log, nil if none is known.
	Removed *Removal
	// Scanning is set as long as the broker scans the log for these.
	Scanning bool
	// Subscriptions is how many there are, Attached how many of them a
	// connection receives, Streams how many pipes are open.
	Subscriptions, Attached, Streams uint64
	// StoreError is why the log, or the segment that it names, cannot be read
	// now; empty: all of it can.
	StoreError string
	// AgentState is the state of the agent's service: "running", "starting",
	// "stopped", "failed", or "unknown" where there is no service manager to
	// ask. AgentSince is when it was started, or ended; zero: unknown.
	AgentState string
	AgentSince time.Time
	// Agent is what the agent says of itself; nil if it does not answer.
	// AgentError is the reason, empty if it was stopped.
	Agent      *AgentStatus
	AgentError string
	// Other are what is not known to this package, by key.
	Other map[string]any
}

// Unrecorded is a time in which nothing was recorded, or, if Library names it, a
// library was not.
type Unrecorded struct {
	From, To        time.Time
	Reason, Library string
}

// Removal is the removal of the entries First to Last, by a user or the limits
// of the agent.
type Removal struct {
	Time            time.Time
	User            string
	UID             uint32
	Policy          string
	First, Last     uint64
	Segments, Bytes uint64
}

// AgentStatus is what there is to know about the agent.
type AgentStatus struct {
	// Version is that of the agent, Started when it did.
	Version string
	Started time.Time
	// Profile is how it attaches to programs: "uprobe_multi" or "perf_event".
	Profile string
	// LogDirectory is where it writes, Full why the disk takes nothing.
	LogDirectory, Full string
	// HitsSeen is how many probe hits the kernel saw, Hits how many were
	// recorded; Events, Groups and Chunks are what became of them.
	HitsSeen, Hits, Events, Groups, Chunks uint64
	// Losses are since the agent started.
	Losses []Loss
	// RingSize is the size of the ring buffer, RingHighWater the most that
	// ever waited in it; bytes.
	RingSize, RingHighWater uint64
	// CPU is the time it has used, Resident its memory in bytes.
	CPU      time.Duration
	Resident uint64
	// Libraries are the files with probes.
	Libraries []Library
	// Other are what is not known to this package, by key.
	Other map[string]any
}

// Loss is what was lost for one reason.
type Loss struct {
	Reason       string
	Hits, Events uint64
}

// Library is a file with probes.
type Library struct {
	Path, BuildID, Provider string
	Probes                  []string
	Sites, Hits             uint64
	// Since is when the agent attached to it; zero: it has not.
	Since time.Time
	// Replaced says that another file has taken its path.
	Replaced bool
	// Error says what is wrong with it.
	Error string
}

// Status asks how broker, agent and log are.
func (c *Client) Status(ctx context.Context) (Status, error) {
	body, err := c.call(ctx, brokerPath, brokerInterface+".GetStatus")
	if err != nil {
		return Status{}, fmt.Errorf("cannot get the status: %w", err)
	}
	var m map[string]dbus.Variant
	if err := store("GetStatus", body, &m); err != nil {
		return Status{}, err
	}
	var s Status
	f := fields{m: m}
	f.take("version", &s.Version)
	f.take("started", &s.Started)
	f.take("oldest", &s.Oldest)
	f.take("newest", &s.Newest)
	f.take("segments", &s.Segments)
	f.take("disk-usage", &s.DiskUsage)
	f.take("disk-free", &s.DiskFree)
	f.take("events-lost", &s.EventsLost)
	f.take("lost", &s.Lost)
	f.take("lost-since", &s.LostSince)
	f.takeNotices(&s)
	f.take("subscriptions", &s.Subscriptions)
	f.take("attached", &s.Attached)
	f.take("streams", &s.Streams)
	f.take("store-error", &s.StoreError)
	f.take("agent-error", &s.AgentError)
	f.take("agent-state", &s.AgentState)
	f.take("agent-since", &s.AgentSince)
	var active bool
	f.take("agent-active", &active)
	var agent map[string]dbus.Variant
	f.take("agent", &agent)
	if active && agent != nil {
		s.Agent = agentStatus(agent)
	}
	s.Other = f.rest()
	return s, f.err
}

// takeNotices takes what the log reports of itself besides losses.
func (f *fields) takeNotices(s *Status) {
	var list []struct {
		From, To        uint64
		Reason, Library string
	}
	f.take("unrecorded", &list)
	for _, u := range list {
		s.Unrecorded = append(s.Unrecorded, Unrecorded{fromMicros(u.From), fromMicros(u.To), u.Reason, u.Library})
	}
	f.take("unrecorded-count", &s.UnrecordedCount)
	f.take("unrecorded-usec", &s.UnrecordedTotal)
	f.take("scanning", &s.Scanning)
	var removed map[string]dbus.Variant
	f.take("removed", &removed)
	if removed == nil {
		return
	}
	r := fields{m: removed}
	s.Removed = &Removal{}
	r.take("time", &s.Removed.Time)
	r.take("user", &s.Removed.User)
	r.take("uid", &s.Removed.UID)
	r.take("policy", &s.Removed.Policy)
	r.take("first", &s.Removed.First)
	r.take("last", &s.Removed.Last)
	r.take("segments", &s.Removed.Segments)
	r.take("bytes", &s.Removed.Bytes)
	if f.err == nil {
		f.err = r.err
	}
}

func agentStatus(m map[string]dbus.Variant) *AgentStatus {
	var s AgentStatus
	f := fields{m: m}
	f.take("version", &s.Version)
	f.take("started", &s.Started)
	f.take("profile", &s.Profile)
	f.take("log-directory", &s.LogDirectory)
	f.take("full", &s.Full)
	f.take("hits-seen", &s.HitsSeen)
	f.take("hits", &s.Hits)
	f.take("events", &s.Events)
	f.take("groups", &s.Groups)
	f.take("chunks", &s.Chunks)
	f.take("ring-size", &s.RingSize)
	f.take("ring-high-water", &s.RingHighWater)
	f.take("cpu-usec", &s.CPU)
	f.take("resident", &s.Resident)
	var losses []Loss
	f.take("losses", &losses)
	s.Losses = losses
	var libraries []map[string]dbus.Variant
	f.take("libraries", &libraries)
	for _, m := range libraries {
		var l Library
		f := fields{m: m}
		f.take("path", &l.Path)
		f.take("build-id", &l.BuildID)
		f.take("provider", &l.Provider)
		f.take("probes", &l.Probes)
		f.take("sites", &l.Sites)
		f.take("hits", &l.Hits)
		f.take("since", &l.Since)
		f.take("replaced", &l.Replaced)
		f.take("error", &l.Error)
		s.Libraries = append(s.Libraries, l)
	}
	s.Other = f.rest()
	return &s
}

// fields takes values out of a dictionary.
type fields struct {
	m   map[string]dbus.Variant
	err error
}

// take stores a value, if it is there. Numbers may be of any unsigned type;
// times are in microseconds since the Unix epoch, 0 for none.
func (f *fields) take(key string, to any) {
	v, ok := f.m[key]
	if !ok {
		return
	}
	delete(f.m, key)
	var err error
	switch to := to.(type) {
	case *uint64:
		switch n := v.Value().(type) {
		case uint64:
			*to = n
		case uint32:
			*to = uint64(n)
		default:
			err = fmt.Errorf("%w: %s of type %T", ErrProtocol, key, n)
		}
	case *time.Time:
		var us uint64
		if err = v.Store(&us); err == nil && us != 0 {
			*to = fromMicros(us)
		}
	case *time.Duration:
		var us uint64
		err = v.Store(&us)
		*to = time.Duration(us) * time.Microsecond
	default:
		err = v.Store(to)
	}
	if err != nil && f.err == nil {
		f.err = fmt.Errorf("%w: %s: %w", ErrProtocol, key, err)
	}
}

// rest returns what was not taken, nil if nothing.
func (f *fields) rest() map[string]any {
	if len(f.m) == 0 {
		return nil
	}
	rest := make(map[string]any, len(f.m))
	for key, v := range f.m {
		rest[key] = v.Value()
	}
	return rest
}

// property gets a property of an object.
func (c *Client) property(ctx context.Context, path dbus.ObjectPath, ofInterface, name string, to any) error {
	body, err := c.call(ctx, path, propertiesInterface+".Get", ofInterface, name)
	if err != nil {
		return err
	}
	var v dbus.Variant
	if err := store("Get", body, &v); err != nil {
		return err
	}
	if err := v.Store(to); err != nil {
		return fmt.Errorf("%w: property %s: %w", ErrProtocol, name, err)
	}
	return nil
}

// interfaceVersion returns the version of the broker's interface.
func (c *Client) interfaceVersion(ctx context.Context) (uint32, error) {
	var version uint32
	err := c.property(ctx, brokerPath, brokerInterface, "InterfaceVersion", &version)
	return version, err
}

// Newest returns the cursor of the newest entry of the log.
func (c *Client) Newest(ctx context.Context) (Cursor, error) {
	var cursor Cursor
	if err := c.property(ctx, brokerPath, brokerInterface, "Newest", &cursor); err != nil {
		return "", fmt.Errorf("cannot get the newest cursor: %w", err)
	}
	return cursor, nil
}

// Oldest returns the cursor before the oldest entry of the log.
func (c *Client) Oldest(ctx context.Context) (Cursor, error) {
	var cursor Cursor
	if err := c.property(ctx, brokerPath, brokerInterface, "Oldest", &cursor); err != nil {
		return "", fmt.Errorf("cannot get the oldest cursor: %w", err)
	}
	return cursor, nil
}
