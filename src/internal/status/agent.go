// SPDX-License-Identifier: Apache-2.0

package status

import "time"

// Agent is the status of a running agent. Counters count from its start; sizes
// are bytes. What has no key on the bus is known only to a caller that asks the
// agent itself.
type Agent struct {
	// Version is that of the agent, Started when it did.
	Version string    `bus:"version" json:"version"`
	Started time.Time `bus:"started" json:"startedUSec" metric:"start_time_seconds gauge" help:"When the agent started, since the Unix epoch."`
	// Profile is how it attaches to programs: "uprobe_multi" or "perf_event".
	Profile string `bus:"profile" json:"profile"`
	// LogDirectory is where it writes. Newest is the cursor after the last
	// committed entry, Oldest the one before the first that is left.
	LogDirectory string `bus:"log-directory" json:"directory"`
	Newest       string `json:"newest"`
	Oldest       string `json:"oldest"`
	// DiskUsage is the size of all segments, Segments their number, DiskFree what
	// the file system has left.
	DiskUsage uint64 `json:"diskUsage" metric:"log_size_bytes gauge 1" help:"Size of all segments of the log."`
	DiskFree  uint64 `json:"diskFree" metric:"log_free_bytes gauge 1" help:"What the file system of the log has left."`
	Segments  uint64 `json:"segments" metric:"log_segments gauge 1" help:"Number of segments of the log."`
	// Full is why the disk takes nothing at the moment; empty: it does.
	Full string `bus:"full" json:"full" metric:"log_full gauge 1" help:"Whether writing the log fails at the moment."`
	// HitsSeen is how many probe hits the kernel saw, Hits how many were
	// recorded; Events, Groups and Chunks are what became of them.
	//
	// HitsSeen = Hits + HitsExcluded + those that are lost, or on their way.
	HitsSeen uint64 `bus:"hits-seen" json:"hitsSeen" metric:"seen_hits_total counter" help:"Hits of probes that the kernel saw."`
	Hits     uint64 `bus:"hits" json:"hits" metric:"recorded_hits_total counter" help:"Hits of probes that are in the log."`
	// HitsExcluded are of programs that are not to be recorded.
	HitsExcluded uint64 `bus:"hits-excluded" json:"hitsExcluded" metric:"excluded_hits_total counter" help:"Hits of probes of programs that are not to be recorded."`
	Events       uint64 `bus:"events" json:"events" metric:"recorded_events_total counter" help:"Events in the log: contexts opened and values."`
	Groups       uint64 `bus:"groups" json:"groups" metric:"recorded_groups_total counter" help:"Groups of events in the log."`
	Chunks       uint64 `bus:"chunks" json:"chunks" metric:"recorded_chunks_total counter" help:"Chunks written to the log."`
	Losses       []Loss `bus:"losses,tuple" json:"lost"`
	// RingSize is the size of the ring buffer, RingHighWater the most that ever
	// waited in it.
	RingSize      uint64 `bus:"ring-size" json:"ringSize" metric:"ring_size_bytes gauge" help:"Size of the ring between kernel and agent."`
	RingHighWater uint64 `bus:"ring-high-water" json:"ringHighWater" metric:"ring_high_water_bytes gauge" help:"The most that ever waited in the ring."`
	// CPU is the time it has used, Resident its memory.
	CPU      time.Duration `bus:"cpu-usec" json:"cpuUSec" metric:"cpu_seconds_total counter" help:"Processor time that the agent has used."`
	Resident uint64        `bus:"resident" json:"resident" metric:"resident_memory_bytes gauge" help:"Resident memory of the agent."`
	// Latency counts groups by the time from their first probe to the commit.
	Latency Histogram `json:"latency" metric:"commit_latency_seconds histogram 2" help:"Groups by the time from their first probe to the commit."`
	// Libraries are the files with probes.
	Libraries []Library `bus:"libraries" json:"libraries"`
	// Sources are the ways of capturing that are configured.
	Sources []Source `bus:"sources" json:"sources"`
	// Coverage counts the handshakes that were seen at sockets, and those that
	// libraries reported meanwhile, by the executable.
	Coverage []Coverage `bus:"coverage" json:"coverage"`
	// Exclusions are the rules by which programs are not recorded.
	Exclusions []Exclusion `bus:"exclusions" json:"exclusions"`
	// Problem is what could not be found out and is zero here; empty: nothing.
	Problem string `json:"problem"`
	// Other are what is not known here, by key.
	Other map[string]any `bus:"*"`
}

// Loss is what was lost for one reason, at a place: kernel, agent or disk.
type Loss struct {
	Place  string `json:"place" label:"place"`
	Reason string `bus:"reason" json:"reason" label:"reason"`
	Hits   uint64 `bus:"hits" json:"hits" metric:"lost_hits_total counter" help:"Hits of probes that are not in the log."`
	Events uint64 `bus:"events" json:"events" metric:"lost_events_total counter" help:"Events known to be lost."`
}

// Library is a file with probes that the agent attached to or could not, or a
// configured path or glob that leads to no file.
type Library struct {
	Path string `bus:"path" json:"path" label:"path"`
	// BuildID is hex digits; empty: the file has none.
	BuildID string `bus:"build-id" json:"buildId" label:"build_id"`
	// Provider is the name that its probes go by, Probes are their names, Sites is
	// the number of their addresses.
	Provider string   `bus:"provider" json:"provider"`
	Probes   []string `bus:"probes" json:"probes"`
	Sites    uint64   `bus:"sites,u" json:"sites" metric:"library_sites gauge 4" help:"Places of a library's probes."`
	// Hits were recorded from it.
	Hits uint64 `bus:"hits" json:"hits" metric:"library_hits_total counter 3" help:"Recorded hits of a library's probes."`
	// Attached is how the agent is attached to it, Since is when it attached;
	// empty and zero: it is not.
	Attached string    `json:"attached" metric:"library_attached gauge 4" help:"Whether the library is recorded."`
	Since    time.Time `bus:"since" json:"attachedUSec"`
	// Replaced says that another file has taken its path; programs that started
	// before still use this one.
	Replaced bool `bus:"replaced" json:"replaced"`
	// Verified counts the handshakes whose values another source saw, too, of a
	// library that is recorded by its functions.
	Verified uint64 `bus:"verified" json:"verified" metric:"library_verified_total counter 3" help:"Handshakes of a library whose values were the same at the socket."`
	// Error is why it is not attached, or which sites are not.
	Error string `bus:"error" json:"error"`
}

// Source is a way of capturing. What it counts are ends of connections:
// Connections = Handshakes + NoHandshake + Relayed + Excluded + those that are lost or
// open.
type Source struct {
	// Name is "usdt", "wire" or "function".
	Name string `bus:"name" json:"name" label:"source"`
	// FrontEnd is how it captures; empty: it does not, and Error is why. Refused is
	// why a better front end cannot be used.
	FrontEnd string `bus:"front-end" json:"frontEnd" metric:"source_active gauge 5" help:"Whether a source captures."`
	Error    string `bus:"error" json:"error"`
	Refused  string `bus:"refused" json:"refused"`
	// Connections began while it captured. Of them Handshakes had one,
	// NoHandshake had none, Relayed had one that the program passed on, and Excluded
	// one of a program that is not to be recorded.
	Connections uint64 `bus:"connections" json:"connections" metric:"source_connections_total counter 5" help:"Ends of connections that a source has seen."`
	Handshakes  uint64 `bus:"handshakes" json:"handshakes" metric:"source_handshakes_total counter 5" help:"Ends of connections with a handshake."`
	NoHandshake uint64 `bus:"no-handshake" json:"noHandshake" metric:"source_no_handshake_total counter 5" help:"Ends of connections without a handshake."`
	Relayed     uint64 `bus:"relayed" json:"relayed" metric:"source_relayed_total counter 5" help:"Ends of connections that passed on the handshake of others."`
	Excluded    uint64 `bus:"excluded" json:"excluded" metric:"source_excluded_total counter 5" help:"Ends of connections with a handshake of a program that is not to be recorded."`
	// Operations were made outside of handshakes, Dropped are records of which a value
	// could not be.
	Operations uint64 `bus:"operations" json:"operations" metric:"source_operations_total counter 5" help:"Operations outside of handshakes that a source has seen."`
	Dropped    uint64 `bus:"dropped" json:"dropped" metric:"source_dropped_total counter 5" help:"Records of a source that were dropped because a value cannot be."`
}

// Coverage counts the TLS handshakes of an executable.
type Coverage struct {
	// Executable is a base name; empty: those that are not counted apart.
	Executable string `bus:"executable" json:"executable" label:"executable"`
	// Matched were seen at a socket and reported by a library, Socket seen and not
	// reported, Library reported and not seen. Mismatched were both, with different
	// values. Excluded were seen at a socket and not recorded.
	Matched    uint64 `bus:"matched" json:"matched" metric:"handshakes_matched_total counter 6" help:"TLS handshakes seen at a socket that a library reported, too."`
	Socket     uint64 `bus:"socket" json:"socket" metric:"handshakes_socket_total counter 6" help:"TLS handshakes seen at a socket only."`
	Library    uint64 `bus:"library" json:"library" metric:"handshakes_library_total counter 6" help:"TLS handshakes reported by a library only."`
	Mismatched uint64 `bus:"mismatched" json:"mismatched" metric:"handshakes_mismatched_total counter 6" help:"TLS handshakes whose values differ between socket and library."`
	Excluded   uint64 `bus:"excluded" json:"excluded" metric:"handshakes_excluded_total counter 6" help:"TLS handshakes at a socket of programs that are not to be recorded."`
}

// Exclusion is a rule by which programs are not recorded, as it is configured.
type Exclusion struct {
	Rule string `bus:"rule" json:"rule" label:"rule"`
	// Handshakes were seen at sockets, Hits are of probes.
	Handshakes uint64 `bus:"handshakes" json:"handshakes" metric:"exclusion_handshakes_total counter 7" help:"Handshakes at sockets that a rule kept out of the log."`
	Hits       uint64 `bus:"hits" json:"hits" metric:"exclusion_hits_total counter 7" help:"Hits of probes that a rule kept out of the log."`
}

// Histogram is a histogram of times. Counts[i] are those up to Bounds[i] and
// above the bound before; the last element of Counts has no bound.
type Histogram struct {
	Bounds []time.Duration `json:"boundsUSec"`
	Counts []uint64        `json:"counts"`
	// Sum is that of all times.
	Sum time.Duration `json:"sumUSec"`
}
