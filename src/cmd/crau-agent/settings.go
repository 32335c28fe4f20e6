// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"crypto-auditing/src/internal/agent"
	"crypto-auditing/src/internal/config"
	"crypto-auditing/src/internal/discover"
	"crypto-auditing/src/internal/exclude"
	"crypto-auditing/src/internal/message"
	"crypto-auditing/src/internal/program"
)

// settings are the configuration files overridden by the command line. They can be reloaded
// while the agent runs.
type settings struct {
	// files are the configuration files named on the command line; none: the
	// installed ones.
	files []string
	// flags has the values of flags; changed reports whether a flag was given.
	flags   config.Agent
	changed func(flag string) bool
	profile string
	// opener is the path of the socket of crau-opener.
	opener string
	log    *slog.Logger
	// varlink is the path of the socket to create; empty: none.
	varlink string
	// check only checks the settings; reloadAgent makes the running agent reload its own.
	check, reloadAgent bool
	// reloading serialises reloads, so that the settings read last take effect.
	reloading sync.Mutex
}

// options loads the settings.
func (s *settings) options() (agent.Options, error) {
	conf, err := s.load()
	if err != nil {
		return agent.Options{}, err
	}
	switch s.profile {
	case "", "uprobe_multi", "perf_event":
	default:
		return agent.Options{}, program.Usage(fmt.Errorf("--profile %s: neither uprobe_multi nor perf_event", s.profile))
	}
	excluded, err := exclude.Parse(conf.Exclude)
	if err != nil {
		return agent.Options{}, err
	}
	return agent.Options{
		Version:         version,
		Probes:          slices.Contains(conf.Sources, config.SourceUSDT),
		Functions:       slices.Contains(conf.Sources, config.SourceFunction),
		Libraries:       finder(&conf),
		Processes:       conf.DiscoverProcesses,
		Opener:          s.opener,
		Sockets:         slices.Contains(conf.Sources, config.SourceWire) || slices.Contains(conf.Sources, config.SourceWireUDP),
		Datagrams:       slices.Contains(conf.Sources, config.SourceWireUDP),
		RecordUnit:      conf.RecordUnit,
		ConnectionLimit: conf.ConnectionLimit,
		Suspects:        conf.SuspectedRelays,
		Exclude:         excluded,
		LogDir:          conf.LogDir,
		CoalesceWindow:  conf.CoalesceWindow.Duration,
		RingSize:        int(conf.RingSize),
		Profile:         s.profile,
		RateLimit:       conf.RateLimit,
		KeyLifetime:     conf.ContextKeyLifetime.Duration,
		SyncInterval:    conf.SyncInterval.Duration,
		SegmentSize:     int64(conf.SegmentSize),
		SegmentAge:      conf.SegmentAge.Duration,
		Limits:          conf.Policy(),
	}, nil
}

// finder returns a finder of the libraries, by paths and globs or the usual libraries if
// none are configured; nil if no library is recorded.
func finder(conf *config.Agent) discover.Finder {
	switch {
	case !slices.Contains(conf.Sources, config.SourceUSDT) && !slices.Contains(conf.Sources, config.SourceFunction):
		return nil
	case len(conf.Library) == 0:
		return discover.Usual{}
	}
	return discover.Named(conf.Library)
}

// reload reloads the settings and applies those that the agent can change while it runs.
// They are in effect when it returns. It is safe for concurrent use.
func (s *settings) reload(a *agent.Agent, log *slog.Logger) error {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	err := s.takeOver(a, log)
	if err != nil {
		message.ReloadFailed.Log(log, "error", err)
	} else {
		message.Reloaded.Log(log)
	}
	return err
}

func (s *settings) takeOver(a *agent.Agent, log *slog.Logger) error {
	o, err := s.options()
	if err != nil {
		return fmt.Errorf("the old configuration stays in effect: %w", err)
	}
	restart, err := a.Reload(o)
	if len(restart) > 0 {
		message.RestartNeeded.Log(log, "keys", strings.Join(restart, " "))
	}
	if err != nil {
		return fmt.Errorf("the new configuration is in effect, but some libraries are not recorded: %w", err)
	}
	return nil
}

// configuration returns the paths of the configuration files.
func (s *settings) configuration() ([]string, error) {
	if len(s.files) > 0 {
		return s.files, nil
	}
	return config.Files("agent", config.Directories()...)
}

func (s *settings) load() (config.Agent, error) {
	files, err := s.configuration()
	if err != nil {
		return config.Agent{}, err
	}
	conf, warnings, err := config.LoadAgent(files...)
	if err != nil {
		return config.Agent{}, err
	}
	program.Warn(s.log, warnings)
	if s.changed("library") {
		conf.Library = s.flags.Library
	}
	if s.changed("log-dir") {
		conf.LogDir = s.flags.LogDir
	}
	if s.changed("coalesce-window") {
		conf.CoalesceWindow = s.flags.CoalesceWindow
	}
	if err := conf.Check(); err != nil {
		return config.Agent{}, program.Usage(err)
	}
	return conf, nil
}
