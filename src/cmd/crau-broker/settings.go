// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"io"
	"log/slog"

	"crypto-auditing/src/internal/agentunit"
	"crypto-auditing/src/internal/broker"
	"crypto-auditing/src/internal/busservice/marshal"
	"crypto-auditing/src/internal/config"
	"crypto-auditing/src/internal/program"
	"crypto-auditing/src/internal/schema"
	"crypto-auditing/src/internal/varlinkservice/agentclient"
)

// settings are the configuration files overridden by the command line.
type settings struct {
	// files are the configuration files named on the command line; none: the
	// installed ones.
	files []string
	// flags has the values of flags; changed reports whether a flag was given.
	flags   config.Broker
	changed func(flag string) bool
	// bus is the address of the bus; empty: the system bus.
	bus string
	// varlink is the path of the socket to create if the service manager passes none.
	varlink string
	check   bool
	log     *slog.Logger
}

// serviceUser is the user of the service.
const serviceUser = "crypto-auditing-broker"

// checkSettings checks the settings and prints the result. When run by root, it checks the
// installed configuration as the service's user.
func (s *settings) checkSettings(stdout io.Writer) error {
	return program.Check(stdout, serviceUser, "broker", s.files, func() error {
		if _, err := s.load(); err != nil {
			return err
		}
		_, err := schema.Installed()
		return err
	})
}

func (s *settings) load() (config.Broker, error) {
	files, err := program.Configuration("broker", s.files)
	if err != nil {
		return config.Broker{}, err
	}
	conf, warnings, err := config.LoadBroker(files...)
	if err != nil {
		return config.Broker{}, err
	}
	program.Warn(s.log, warnings)
	for flag, set := range map[string]func(){
		"log-dir":      func() { conf.LogDir = s.flags.LogDir },
		"state-dir":    func() { conf.StateDir = s.flags.StateDir },
		"agent-socket": func() { conf.AgentSocket = s.flags.AgentSocket },
		"idle-timeout": func() { conf.IdleTimeout = s.flags.IdleTimeout },
	} {
		if s.changed(flag) {
			set()
		}
	}
	if err := conf.Check(); err != nil {
		return config.Broker{}, program.Usage(err)
	}
	return conf, nil
}

func (s *settings) address() string { return program.BusAddress(s.bus) }

// brokerOptions converts the configuration to options.
func brokerOptions(conf *config.Broker) (broker.Options, error) {
	registry, err := schema.Installed()
	if err != nil {
		return broker.Options{}, err
	}
	return broker.Options{
		LogDir: conf.LogDir, StateDir: conf.StateDir, Registry: registry, Encoder: marshal.AppendGroup, OperationEncoder: marshal.InSignals,
		Agent:  agentclient.Client{Path: conf.AgentSocket},
		Policy: conf.Truncate.Policy(),
		Limits: broker.Limits{
			Subscriptions: conf.MaxSubscriptions, UserSubscriptions: conf.MaxUserSubscriptions,
			Streams: conf.MaxStreams, UserStreams: conf.MaxUserStreams,
		},
		AnswerTime: conf.AnswerTimeout.Duration,
	}, nil
}

// agentUnit returns a function that queries the service manager for the agent's state. It
// is nil if the configuration names another socket, or if the flag names any: then the
// broker must connect to that socket, even if this starts the agent.
func (s *settings) agentUnit(conf *config.Broker) func(context.Context) broker.AgentUnit {
	if s.changed("agent-socket") || conf.AgentSocket != config.DefaultBroker().AgentSocket {
		return nil
	}
	return func(ctx context.Context) broker.AgentUnit {
		unit := agentunit.Query(ctx, s.address(), agentunit.Systemd)
		return broker.AgentUnit{State: broker.AgentState(unit.State), Since: unit.Since, Reason: unit.Reason}
	}
}
