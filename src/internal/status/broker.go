// SPDX-License-Identifier: Apache-2.0

package status

import "time"

// Broker is the status of the broker, of the log as it finds it, and of the
// agent as far as it answers. Sizes are bytes.
type Broker struct {
	// Version is that of the broker, Started when it did.
	Version string    `bus:"version" json:"version"`
	Started time.Time `bus:"started" json:"startedUSec"`
	// Oldest and Newest are cursors at the ends of the log.
	Oldest string `bus:"oldest" json:"oldest"`
	Newest string `bus:"newest" json:"newest"`
	// Segments is the number of files of the log, DiskUsage their size and DiskFree
	// what the file system has left for other users than root.
	Segments  uint64 `bus:"segments" json:"segments"`
	DiskUsage uint64 `bus:"disk-usage" json:"diskUsage"`
	DiskFree  uint64 `bus:"disk-free" json:"diskFree"`
	// EventsLost is how many events were lost in the time of the retained log,
	// Lost how many by reason, LostSince when that log begins.
	EventsLost uint64    `bus:"events-lost" json:"eventsLost" varlink:"-"`
	Lost       Lost      `bus:"lost" json:"lost"`
	LostSince  time.Time `bus:"lost-since" json:"lostSinceUSec"`
	// Unrecorded are the newest times in which nothing, or a library, was not
	// recorded. UnrecordedCount is how many the retained log has in all,
	// UnrecordedTotal how long nothing was recorded, in all.
	Unrecorded      []Unrecorded  `bus:"unrecorded,tuple" json:"unrecorded"`
	UnrecordedCount uint64        `bus:"unrecorded-count" json:"unrecordedCount"`
	UnrecordedTotal time.Duration `bus:"unrecorded-usec" json:"unrecordedUSec"`
	// Removed is the newest removal of a part of the log, nil if none is known.
	Removed *Removal `bus:"removed" json:"removed,omitempty"`
	// Scanning is set as long as the broker scans the log for these.
	Scanning bool `bus:"scanning" json:"scanning,omitempty" varlink:"scanning"`
	// Subscriptions is how many there are, Attached how many of them a
	// connection receives, Streams how many pipes are open.
	Subscriptions uint64 `bus:"subscriptions,u" json:"subscriptions"`
	Attached      uint64 `bus:"attached,u" json:"attached"`
	Streams       uint64 `bus:"streams,u" json:"streams"`
	// StoreError is why the log, or the segment that it names, cannot be read
	// now; empty: all of it can.
	StoreError string `bus:"store-error,omitempty" json:"storeError,omitempty" varlink:"storeError"`
	// AgentActive is set if the agent runs. AgentState is the state of its service:
	// "running", "starting", "stopped", "failed", or "unknown" where there is no
	// service manager to ask. AgentSince is when it was started, or ended; zero:
	// unknown.
	AgentActive bool      `bus:"agent-active" varlink:"agentActive"`
	AgentState  string    `bus:"agent-state" varlink:"agentState"`
	AgentSince  time.Time `bus:"agent-since" varlink:"agentSinceUSec"`
	// Agent is what the agent says of itself; nil if it does not answer.
	// AgentError is the reason, empty if it was stopped.
	Agent      *Agent `bus:"agent"`
	AgentError string `bus:"agent-error,omitempty" json:"agentError,omitempty" varlink:"agentError"`
	// Other are what is not known here, by key.
	Other map[string]any `bus:"*"`
}

// Lost counts lost events by reason. Over varlink it is an array.
type Lost map[string]uint64

// Unrecorded is a time in which nothing was recorded, or, if Library names it, a
// library was not.
type Unrecorded struct {
	From    time.Time `bus:"from" json:"fromUSec"`
	To      time.Time `bus:"to" json:"toUSec"`
	Reason  string    `bus:"reason" json:"reason"`
	Library string    `bus:"library" json:"library,omitempty" varlink:"library"`
}

// Removal is the removal of the entries First to Last, by a user or the limits
// of the agent.
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
