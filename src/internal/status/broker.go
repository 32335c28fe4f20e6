// SPDX-License-Identifier: Apache-2.0

package status

import "time"

// Broker is the status of the broker, of the log as the broker sees it, and of the
// agent if it answers. Sizes are in bytes.
type Broker struct {
	// Version is the version of the broker, Started its start time.
	Version string    `bus:"version" json:"version"`
	Started time.Time `bus:"started" json:"startedUSec"`
	// Oldest and Newest are the cursors of the ends of the log.
	Oldest string `bus:"oldest" json:"oldest"`
	Newest string `bus:"newest" json:"newest"`
	// Segments is the number of segments, DiskUsage their size, DiskFree the free space
	// of the file system for users other than root.
	Segments  uint64 `bus:"segments" json:"segments"`
	DiskUsage uint64 `bus:"disk-usage" json:"diskUsage"`
	DiskFree  uint64 `bus:"disk-free" json:"diskFree"`
	// EventsLost is the number of events lost in the time of the retained log, Lost the
	// number by reason, LostSince the start of the retained log.
	EventsLost uint64    `bus:"events-lost" json:"eventsLost" varlink:"-"`
	Lost       Lost      `bus:"lost" json:"lost"`
	LostSince  time.Time `bus:"lost-since" json:"lostSinceUSec"`
	// Unrecorded are the newest periods in which nothing was recorded, or one library
	// was not. UnrecordedCount is the number of such periods in the retained log,
	// UnrecordedTotal the total time in which nothing was recorded.
	Unrecorded      []Unrecorded  `bus:"unrecorded,tuple" json:"unrecorded"`
	UnrecordedCount uint64        `bus:"unrecorded-count" json:"unrecordedCount"`
	UnrecordedTotal time.Duration `bus:"unrecorded-usec" json:"unrecordedUSec"`
	// Removed is the newest removal of a part of the log, nil if none is known.
	Removed *Removal `bus:"removed" json:"removed,omitempty"`
	// Scanning is set while the broker scans the log for these values.
	Scanning bool `bus:"scanning" json:"scanning,omitempty" varlink:"scanning"`
	// Subscriptions is the number of subscriptions, Attached the number of subscriptions
	// with a connection, Streams the number of open pipes.
	Subscriptions uint64 `bus:"subscriptions,u" json:"subscriptions"`
	Attached      uint64 `bus:"attached,u" json:"attached"`
	Streams       uint64 `bus:"streams,u" json:"streams"`
	// StoreError is the reason why the log, or the named segment, cannot be read now;
	// empty if all of it can.
	StoreError string `bus:"store-error,omitempty" json:"storeError,omitempty" varlink:"storeError"`
	// AgentActive is set if the agent runs. AgentState is the state of its service:
	// "running", "starting", "stopped", "failed", or "unknown" without a service
	// manager. AgentSince is the time when it started or ended; zero if unknown.
	AgentActive bool      `bus:"agent-active" varlink:"agentActive"`
	AgentState  string    `bus:"agent-state" varlink:"agentState"`
	AgentSince  time.Time `bus:"agent-since" varlink:"agentSinceUSec"`
	// Agent is the status from the agent; nil if it does not answer. AgentError is then
	// the reason, empty if the agent was stopped.
	Agent      *Agent `bus:"agent"`
	AgentError string `bus:"agent-error,omitempty" json:"agentError,omitempty" varlink:"agentError"`
	// Other has the unknown keys.
	Other map[string]any `bus:"*"`
}

// Lost counts lost events by reason. In the varlink interfaces it is an array.
type Lost map[string]uint64

// Unrecorded is a period in which nothing was recorded or, if Library is set, that
// library was not recorded.
type Unrecorded struct {
	From    time.Time `bus:"from" json:"fromUSec"`
	To      time.Time `bus:"to" json:"toUSec"`
	Reason  string    `bus:"reason" json:"reason"`
	Library string    `bus:"library" json:"library,omitempty" varlink:"library"`
}

// Removal is the removal of the entries First to Last by a user or by the limits of the
// agent.
type Removal struct {
	Time     time.Time `bus:"time" json:"timeUSec"`
	User     string    `bus:"user" json:"user"`
	UID      uint32    `bus:"uid" json:"uid"`
	Policy   string    `bus:"policy" json:"policy"`
	First    uint64    `bus:"first" json:"first"`
	Last     uint64    `bus:"last" json:"last"`
	Segments uint64    `bus:"segments" json:"segments"`
	Bytes    uint64    `bus:"bytes" json:"bytes"`
}
