// SPDX-License-Identifier: Apache-2.0

package status

import "time"

// Agent is the status of a running agent. Counters start at zero with the agent; sizes
// are in bytes. Fields without a key on the bus are available only from the agent
// itself.
type Agent struct {
	// Version is the version of the agent, Started its start time.
	Version string    `bus:"version" json:"version"`
	Started time.Time `bus:"started" json:"startedUSec" metric:"start_time_seconds gauge" help:"When the agent started, since the Unix epoch."`
	// Profile is how the agent attaches to programs: "uprobe_multi" or "perf_event".
	Profile string `bus:"profile" json:"profile"`
	// LogDirectory is the directory of the log. Newest is the cursor after the last
	// committed entry, Oldest the cursor before the first remaining entry.
	LogDirectory string `bus:"log-directory" json:"directory"`
	Newest       string `json:"newest"`
	Oldest       string `json:"oldest"`
	// DiskUsage is the size of all segments, Segments their number, DiskFree the free
	// space of the file system.
	DiskUsage uint64 `json:"diskUsage" metric:"log_size_bytes gauge 1" help:"Size of all segments of the log."`
	DiskFree  uint64 `json:"diskFree" metric:"log_free_bytes gauge 1" help:"What the file system of the log has left."`
	Segments  uint64 `json:"segments" metric:"log_segments gauge 1" help:"Number of segments of the log."`
	// Full is the reason why writing to the disk fails at the moment; empty if it
	// does not.
	Full string `bus:"full" json:"full" metric:"log_full gauge 1" help:"Whether writing the log fails at the moment."`
	// HitsSeen is the number of probe hits that the kernel saw, Hits the number of
	// recorded ones; Events, Groups and Chunks are the numbers that resulted from them.
	//
	// HitsSeen = Hits + HitsExcluded + lost hits + hits in flight.
	HitsSeen uint64 `bus:"hits-seen" json:"hitsSeen" metric:"seen_hits_total counter" help:"Hits of probes that the kernel saw."`
	Hits     uint64 `bus:"hits" json:"hits" metric:"recorded_hits_total counter" help:"Hits of probes that are in the log."`
	// HitsExcluded is the number of hits of excluded programs.
	HitsExcluded uint64 `bus:"hits-excluded" json:"hitsExcluded" metric:"excluded_hits_total counter" help:"Hits of probes of programs that are not to be recorded."`
	Events       uint64 `bus:"events" json:"events" metric:"recorded_events_total counter" help:"Events in the log: contexts opened and values."`
	Groups       uint64 `bus:"groups" json:"groups" metric:"recorded_groups_total counter" help:"Groups of events in the log."`
	Chunks       uint64 `bus:"chunks" json:"chunks" metric:"recorded_chunks_total counter" help:"Chunks written to the log."`
	Losses       []Loss `bus:"losses,tuple" json:"lost"`
	// RingSize is the size of the ring buffer, RingHighWater the maximum number of
	// bytes in it.
	RingSize      uint64 `bus:"ring-size" json:"ringSize" metric:"ring_size_bytes gauge" help:"Size of the ring between kernel and agent."`
	RingHighWater uint64 `bus:"ring-high-water" json:"ringHighWater" metric:"ring_high_water_bytes gauge" help:"The most that ever waited in the ring."`
	// CPU is the processor time used, Resident the resident memory.
	CPU      time.Duration `bus:"cpu-usec" json:"cpuUSec" metric:"cpu_seconds_total counter" help:"Processor time that the agent has used."`
	Resident uint64        `bus:"resident" json:"resident" metric:"resident_memory_bytes gauge" help:"Resident memory of the agent."`
	// Latency counts groups by the time from their first probe hit to the commit.
	Latency Histogram `json:"latency" metric:"commit_latency_seconds histogram 2" help:"Groups by the time from their first probe to the commit."`
	// Libraries are the files with probes.
	Libraries []Library `bus:"libraries" json:"libraries"`
	// Sources are the configured sources.
	Sources []Source `bus:"sources" json:"sources"`
	// Coverage counts, by executable, the handshakes seen at sockets and those
	// reported by libraries in the same time.
	Coverage []Coverage `bus:"coverage" json:"coverage"`
	// Exclusions are the rules that exclude programs.
	Exclusions []Exclusion `bus:"exclusions" json:"exclusions"`
	// Problem describes the data that could not be determined and is zero here;
	// empty if there is none.
	Problem string `json:"problem"`
	// Other has the unknown keys.
	Other map[string]any `bus:"*"`
}

// Loss counts the losses of one reason at one place: kernel, agent or disk.
type Loss struct {
	Place  string `json:"place" label:"place"`
	Reason string `bus:"reason" json:"reason" label:"reason"`
	Hits   uint64 `bus:"hits" json:"hits" metric:"lost_hits_total counter" help:"Hits of probes that are not in the log."`
	Events uint64 `bus:"events" json:"events" metric:"lost_events_total counter" help:"Events known to be lost."`
}

// Library is a file with probes, attached or not, or a configured path or glob that
// matches no file.
type Library struct {
	Path string `bus:"path" json:"path" label:"path"`
	// BuildID is in hexadecimal digits; empty if the file has none.
	BuildID string `bus:"build-id" json:"buildId" label:"build_id"`
	// Provider is the provider name of its probes, Probes their names, Sites the number
	// of their addresses.
	Provider string   `bus:"provider" json:"provider"`
	Probes   []string `bus:"probes" json:"probes"`
	Sites    uint64   `bus:"sites,u" json:"sites" metric:"library_sites gauge 4" help:"Places of a library's probes."`
	// Hits is the number of hits recorded from it.
	Hits uint64 `bus:"hits" json:"hits" metric:"library_hits_total counter 3" help:"Recorded hits of a library's probes."`
	// Attached is how the agent is attached to it, Since the time when it attached;
	// both are zero if it is not attached.
	Attached string    `json:"attached" metric:"library_attached gauge 4" help:"Whether the library is recorded."`
	Since    time.Time `bus:"since" json:"attachedUSec"`
	// Replaced reports that another file has taken its path. Programs that started
	// before still use this one.
	Replaced bool `bus:"replaced" json:"replaced"`
	// Verified is the number of handshakes whose values another source confirmed, for a
	// library that is recorded by its functions.
	Verified uint64 `bus:"verified" json:"verified" metric:"library_verified_total counter 3" help:"Handshakes of a library whose values were the same at the socket."`
	// Error is the reason why it, or some of its sites, cannot be attached.
	Error string `bus:"error" json:"error"`
}

// Source is a source of events. It counts ends of connections: Connections =
// Handshakes + NoHandshake + Relayed + Excluded + lost ones + open ones.
type Source struct {
	// Name is "usdt", "wire" or "function".
	Name string `bus:"name" json:"name" label:"source"`
	// FrontEnd is how it captures; empty if it does not, for the reason Error. Refused
	// is the reason why a better front end cannot be used.
	FrontEnd string `bus:"front-end" json:"frontEnd" metric:"source_active gauge 5" help:"Whether a source captures."`
	Error    string `bus:"error" json:"error"`
	Refused  string `bus:"refused" json:"refused"`
	// Connections is the number of connections that began while it captured. Of them,
	// Handshakes had a handshake, NoHandshake had none, Relayed had one that the program
	// forwarded, and Excluded had one of an excluded program.
	Connections uint64 `bus:"connections" json:"connections" metric:"source_connections_total counter 5" help:"Ends of connections that a source has seen."`
	Handshakes  uint64 `bus:"handshakes" json:"handshakes" metric:"source_handshakes_total counter 5" help:"Ends of connections with a handshake."`
	NoHandshake uint64 `bus:"no-handshake" json:"noHandshake" metric:"source_no_handshake_total counter 5" help:"Ends of connections without a handshake."`
	Relayed     uint64 `bus:"relayed" json:"relayed" metric:"source_relayed_total counter 5" help:"Ends of connections that passed on the handshake of others."`
	Excluded    uint64 `bus:"excluded" json:"excluded" metric:"source_excluded_total counter 5" help:"Ends of connections with a handshake of a program that is not to be recorded."`
	// Operations is the number of operations outside of handshakes, Dropped the number
	// of records dropped because of an invalid value.
	Operations uint64 `bus:"operations" json:"operations" metric:"source_operations_total counter 5" help:"Operations outside of handshakes that a source has seen."`
	Dropped    uint64 `bus:"dropped" json:"dropped" metric:"source_dropped_total counter 5" help:"Records of a source that were dropped because a value cannot be."`
}

// Coverage counts the TLS handshakes of an executable.
type Coverage struct {
	// Executable is a base name; empty for all executables without a separate count.
	Executable string `bus:"executable" json:"executable" label:"executable"`
	// Matched handshakes were seen at a socket and reported by a library, Socket only
	// seen, Library only reported. Mismatched ones were both, with different values.
	// Excluded ones were seen at a socket and not recorded.
	Matched    uint64 `bus:"matched" json:"matched" metric:"handshakes_matched_total counter 6" help:"TLS handshakes seen at a socket that a library reported, too."`
	Socket     uint64 `bus:"socket" json:"socket" metric:"handshakes_socket_total counter 6" help:"TLS handshakes seen at a socket only."`
	Library    uint64 `bus:"library" json:"library" metric:"handshakes_library_total counter 6" help:"TLS handshakes reported by a library only."`
	Mismatched uint64 `bus:"mismatched" json:"mismatched" metric:"handshakes_mismatched_total counter 6" help:"TLS handshakes whose values differ between socket and library."`
	Excluded   uint64 `bus:"excluded" json:"excluded" metric:"handshakes_excluded_total counter 6" help:"TLS handshakes at a socket of programs that are not to be recorded."`
}

// Exclusion is a configured rule that excludes programs.
type Exclusion struct {
	Rule string `bus:"rule" json:"rule" label:"rule"`
	// Handshakes counts excluded handshakes at sockets, Hits excluded probe hits.
	Handshakes uint64 `bus:"handshakes" json:"handshakes" metric:"exclusion_handshakes_total counter 7" help:"Handshakes at sockets that a rule kept out of the log."`
	Hits       uint64 `bus:"hits" json:"hits" metric:"exclusion_hits_total counter 7" help:"Hits of probes that a rule kept out of the log."`
}

// Histogram is a histogram of times. Counts[i] counts times up to Bounds[i] and above
// the previous bound; the last element of Counts has no upper bound.
type Histogram struct {
	Bounds []time.Duration `json:"boundsUSec"`
	Counts []uint64        `json:"counts"`
	// Sum is the sum of all times.
	Sum time.Duration `json:"sumUSec"`
}
