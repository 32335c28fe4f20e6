// SPDX-License-Identifier: Apache-2.0

package config

import (
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"crypto-auditing/src/internal/exclude"
)

// Agent is the configuration of crau-agent.
type Agent struct {
	// Sources are the sources of events in use.
	Sources []string `toml:"sources" help:"of usdt, function, wire, wire-udp"`
	// RecordUnit adds the systemd service or scope of the program to entries, where
	// it is known.
	RecordUnit bool `toml:"record_unit" help:"the service or scope of the program"`
	// Library lists files with probes, as paths or globs. Empty: the usual crypto
	// libraries that are installed.
	Library []string `toml:"library" help:"paths and globs; none: the usual crypto libraries"`
	// DiscoverProcesses also searches the files that processes load for probes and
	// functions, wherever they are.
	DiscoverProcesses bool `toml:"discover_processes" help:"also what processes load from elsewhere"`
	// Exclude lists rules for programs that are not recorded; see package exclude.
	Exclude []string `toml:"exclude" help:"unit=GLOB, executable=GLOB or user=NAME;\nsuch programs are not recorded"`
	// SuspectedRelays are base names of programs, as globs, that forward connections
	// of others while only one leg is a visible socket: the other leg is inside SSH,
	// a virtual machine, or a user-space network.
	SuspectedRelays []string `toml:"suspected_relays" help:"programs, as globs, that pass on\nconnections of others"`
	// LogDir is the directory of the log.
	LogDir string `toml:"log_dir"`
	// CoalesceWindow is how long events of one context are collected before they are
	// written.
	CoalesceWindow Duration `toml:"coalesce_window" help:"or a number of milliseconds"`
	// RingSize is the size of the BPF ring buffer, a power of two.
	RingSize Size `toml:"ring_size" help:"of the BPF ring buffer, a power of two"`
	// RateLimit is the maximum number of recorded probe hits per second and process;
	// 0 disables the limit.
	RateLimit uint64 `toml:"rate_limit" help:"hits a second of one process; 0: no limit"`
	// ConnectionLimit is the maximum number of connections per second and process
	// that are examined for handshakes; 0 disables the limit.
	ConnectionLimit uint64 `toml:"connection_limit" help:"connections a second of one process that are\nlooked at; 0: no limit"`
	// ContextKeyLifetime is how long the key of the context ids is used; 0: until the
	// agent exits.
	ContextKeyLifetime Duration `toml:"context_key_lifetime"`
	// SyncInterval is the time after which a written event survives a power failure.
	SyncInterval Duration `toml:"sync_interval" help:"until an event survives a power cut"`
	// SegmentSize and SegmentAge are the limits at which a segment is closed.
	SegmentSize Size     `toml:"segment_size" help:"of a log file"`
	SegmentAge  Duration `toml:"segment_age" help:"of a log file"`
	Retention
}

// The values of Agent.Sources.
const (
	// SourceUSDT captures USDT probes in libraries.
	SourceUSDT = "usdt"
	// SourceFunction captures functions of libraries without probes.
	SourceFunction = "function"
	// SourceWire captures the plaintext start of TLS and SSH connections.
	SourceWire = "wire"
	// SourceWireUDP also captures the handshakes of QUIC and DTLS.
	SourceWireUDP = "wire-udp"
)

// DefaultAgent returns the default configuration.
func DefaultAgent() Agent {
	return Agent{
		Sources:    []string{SourceUSDT, SourceWire},
		RecordUnit: true,
		SuspectedRelays: []string{
			"ssh", "sshd", "sshd-session", "dropbear", "dbclient", "slirp4netns", "pasta", "passt", "qemu-kvm", "qemu-system-*",
		},
		LogDir:             "/var/log/crypto-auditing",
		CoalesceWindow:     For(100 * time.Millisecond),
		RingSize:           8 << 20,
		RateLimit:          250_000,
		ConnectionLimit:    10_000,
		ContextKeyLifetime: For(24 * time.Hour),
		SyncInterval:       For(5 * time.Second),
		SegmentSize:        128 << 20,
		SegmentAge:         For(24 * time.Hour),
		Retention:          defaultRetention(),
	}
}

// LoadAgent reads the files in order over the defaults. Deprecated lists the values
// that the next version rejects.
func LoadAgent(files ...string) (conf Agent, deprecated []Deprecated, err error) {
	conf = DefaultAgent()
	if deprecated, err = load(files, &conf); err != nil {
		return Agent{}, nil, err
	}
	return conf, deprecated, nil
}

func (a *Agent) quantities() []quantityKey {
	return append([]quantityKey{
		{name: "coalesce_window", duration: &a.CoalesceWindow, number: milliseconds},
		{name: "ring_size"},
		{name: "context_key_lifetime", duration: &a.ContextKeyLifetime, off: true},
		{name: "sync_interval", duration: &a.SyncInterval},
		{name: "segment_size"},
		{name: "segment_age", duration: &a.SegmentAge},
	}, a.Retention.quantities("")...)
}

// Check returns a *ValueError for the first invalid value.
func (a *Agent) Check() error {
	const window = time.Minute
	switch {
	case a.RingSize < 4096 || a.RingSize > 1<<30 || a.RingSize&(a.RingSize-1) != 0:
		return badValue("ring_size", "%v must be a power of two from 4K to 1G", a.RingSize)
	case a.CoalesceWindow.Duration > window:
		return badValue("coalesce_window", "%v must not be above %v", a.CoalesceWindow, For(window))
	case a.SegmentSize < 1<<20:
		return badValue("segment_size", "%v must be at least 1M", a.SegmentSize)
	case a.SegmentAge.Duration < time.Second:
		return badValue("segment_age", "%v must be at least 1s", a.SegmentAge)
	case a.LogDir == "":
		return badValue("log_dir", "must name a directory")
	}
	known := []string{SourceUSDT, SourceFunction, SourceWire, SourceWireUDP}
	for _, source := range a.Sources {
		if !slices.Contains(known, source) {
			return badValue("sources", "%q is not a source: want some of %s", source, strings.Join(known, ", "))
		}
	}
	if len(a.Sources) == 0 {
		return badValue("sources", "must name at least one of %s", strings.Join(known, ", "))
	}
	if _, err := exclude.Parse(a.Exclude); err != nil {
		return badValue("exclude", "%v", err)
	}
	for _, pattern := range a.SuspectedRelays {
		if _, err := path.Match(pattern, ""); err != nil || pattern == "" || strings.Contains(pattern, "/") {
			return badValue("suspected_relays", "%q is not a pattern for the base name of a file: use a name, in which * stands for any characters", pattern)
		}
	}
	for _, pattern := range a.Library {
		if _, err := filepath.Match(pattern, ""); err != nil || pattern == "" {
			return badValue("library", "%q is not a path or glob", pattern)
		}
	}
	return nil
}
