// SPDX-License-Identifier: Apache-2.0

package config

import (
	"time"
)

// Broker is the configuration of crau-broker.
type Broker struct {
	// LogDir is the directory of the log, StateDir the directory of the
	// subscriptions.
	LogDir   string `toml:"log_dir"`
	StateDir string `toml:"state_dir"`
	// AgentSocket is the varlink socket of the agent.
	AgentSocket string `toml:"agent_socket"`
	// IdleTimeout is how long the broker must be idle before it exits; 0 disables.
	IdleTimeout Duration `toml:"idle_timeout" help:"until it exits; 0 disables"`
	// AnswerTimeout is how long a subscriber may take to answer before it may be
	// skipped forward.
	AnswerTimeout Duration `toml:"answer_timeout" help:"until a subscriber may be skipped forward"`
	// MaxSubscriptions limits the subscriptions of all users, MaxUserSubscriptions of
	// each user.
	MaxSubscriptions     int `toml:"max_subscriptions" help:"of all users"`
	MaxUserSubscriptions int `toml:"max_user_subscriptions" help:"of one"`
	// MaxStreams limits the open streams of all users, MaxUserStreams of each user.
	MaxStreams     int `toml:"max_streams" help:"of all users"`
	MaxUserStreams int `toml:"max_user_streams" help:"of one"`

	Truncate Truncate `toml:"truncate" help:"what is kept, daily"`
}

// DefaultBroker returns the default configuration.
func DefaultBroker() Broker {
	return Broker{
		LogDir:               "/var/log/crypto-auditing",
		StateDir:             "/var/lib/crypto-auditing",
		AgentSocket:          "/run/crypto-auditing/org.cryptoauditing.Agent",
		IdleTimeout:          For(time.Minute),
		AnswerTimeout:        For(5 * time.Second),
		MaxSubscriptions:     512,
		MaxUserSubscriptions: 128,
		MaxStreams:           64,
		MaxUserStreams:       16,
		Truncate: Truncate{
			Retention: defaultRetention(), Reading: "keep", Hold: For(7 * 24 * time.Hour),
		},
	}
}

// LoadBroker reads the files in order over the defaults. Deprecated lists the values
// that the next version rejects.
func LoadBroker(files ...string) (conf Broker, deprecated []Deprecated, err error) {
	conf = DefaultBroker()
	if deprecated, err = load(files, &conf); err != nil {
		return Broker{}, nil, err
	}
	return conf, deprecated, nil
}

func (b *Broker) quantities() []quantityKey {
	return append([]quantityKey{
		{name: "idle_timeout", duration: &b.IdleTimeout, off: true},
		{name: "answer_timeout", duration: &b.AnswerTimeout},
	}, b.Truncate.quantities()...)
}

// Check returns a *ValueError for the first invalid value.
func (b *Broker) Check() error {
	const most = 4096
	for _, limit := range []struct {
		key   string
		value int
	}{
		{"max_subscriptions", b.MaxSubscriptions}, {"max_user_subscriptions", b.MaxUserSubscriptions},
		{"max_streams", b.MaxStreams}, {"max_user_streams", b.MaxUserStreams},
	} {
		if limit.value < 1 || limit.value > most {
			return badValue(limit.key, "%d must be from 1 to %d", limit.value, most)
		}
	}
	switch b.Truncate.Reading {
	case "ignore", "keep", "drop":
	default:
		return badValue("truncate.reading", `%q must be "ignore", "keep" or "drop"`, b.Truncate.Reading)
	}
	switch {
	case b.AnswerTimeout.Duration < 100*time.Millisecond:
		return badValue("answer_timeout", "%v must be at least 100ms", b.AnswerTimeout)
	case b.LogDir == "":
		return badValue("log_dir", "must name a directory")
	case b.StateDir == "":
		return badValue("state_dir", "must name a directory")
	case b.AgentSocket == "":
		return badValue("agent_socket", "must name a socket")
	}
	return nil
}
