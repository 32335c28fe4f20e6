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

// settings are the configuration files with the command line on top. They can
// be read again while the agent runs.
type settings struct {
	// files are the configuration files named on the command line; none: the
	// installed ones.
	files []string
	// flags holds the values of the flags that changed says were given.
	flags   config.Agent
	changed func(flag string) bool
	profile string
	log     *slog.Logger
	// varlink is where to make a socket; empty: nowhere.
	varlink string
	// check asks to go no further than checking them, reloadAgent to have the
	// running agent read its own again.
	check, reloadAgent bool
	// reloading is held while they are read again, so that the agent ends up
	// with what was read last.
	reloading sync.Mutex
}

// options reads the settings.
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

// finder returns what finds the libraries: paths and globs, none for the usual
// libraries; nil if no library is recorded.
func finder(conf *config.Agent) discover.Finder {
	switch {
	case !slices.Contains(conf.Sources, config.SourceUSDT) && !slices.Contains(conf.Sources, config.SourceFunction):
		return nil
	case len(conf.Library) == 0:
		return discover.Usual{}
	}
	return discover.Named(conf.Library)
}

// reload reads the settings again and has the agent take them over, as far as
// it can while it runs. When it returns they are in effect. It may be called
// from any goroutine.
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
	return config.Files("agent", config.Folders()...)
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
