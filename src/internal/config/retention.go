// SPDX-License-Identifier: Apache-2.0

package config

import (
	"crypto-auditing/src/internal/quantity"
	"crypto-auditing/src/internal/retention"
)

// Retention has the limits of a log in both configurations.
type Retention struct {
	// MaxSize limits the size of the log, KeepFree the space that must stay free on its
	// file system. "auto" is 10 % of the file system, at most 4G, for MaxSize and 15 %
	// for KeepFree; 0 disables the limit.
	MaxSize  Limit `toml:"max_size" help:"of the log: 10% of the file system, at most 4G"`
	KeepFree Limit `toml:"keep_free" help:"of the file system: 15%"`
	// MaxAge limits the age of an event; 0 disables the limit.
	MaxAge Duration `toml:"max_age" help:"of an event; 0: any"`
}

// defaultRetention returns the defaults.
func defaultRetention() Retention {
	auto := Limit{retention.Limit{Auto: true}}
	return Retention{MaxSize: auto, KeepFree: auto}
}

// quantities returns the keys; table is the prefix of their names.
func (r *Retention) quantities(table string) []quantityKey {
	return []quantityKey{
		{name: table + "max_size"},
		{name: table + "keep_free"},
		{name: table + "max_age", duration: &r.MaxAge, number: ignored, off: true},
	}
}

// Policy returns the values as a policy.
func (r *Retention) Policy() retention.Policy {
	return retention.Policy{MaxAge: r.MaxAge.Duration, MaxSize: r.MaxSize.Limit, KeepFree: r.KeepFree.Limit}
}

// Truncate has the limits that apply when the log is truncated.
type Truncate struct {
	Retention
	// Reading is the effect of reading by the durable subscriptions: "ignore",
	// "keep" or "drop".
	Reading string `toml:"reading" help:"what durable subscriptions have not read is kept;\n\"ignore\": that is no matter; \"drop\": what all\nhave read goes at once"`
	// Hold limits the age of entries that a lagging subscription has not read; 0
	// disables the limit.
	Hold Duration `toml:"hold" help:"how long, at most; 0: forever"`
}

// quantities returns the keys of the table.
func (t *Truncate) quantities() []quantityKey {
	return append(t.Retention.quantities("truncate."), quantityKey{name: "truncate.hold", duration: &t.Hold, number: ignored, off: true})
}

// Policy returns the values as a policy.
func (t *Truncate) Policy() retention.Policy {
	p := t.Retention.Policy()
	p.Reading, p.Hold = retention.Reading(t.Reading), t.Hold.Duration
	return p
}

// Limit is a size, a percentage of a file system, or "auto".
type Limit struct{ retention.Limit }

// UnmarshalText implements encoding.TextUnmarshaler.
func (l *Limit) UnmarshalText(text []byte) error {
	if string(text) == "auto" {
		l.Limit = retention.Limit{Auto: true}
		return nil
	}
	if percent, ok := quantity.ParsePercent(string(text)); ok {
		l.Limit = retention.Limit{Percent: percent}
		return nil
	}
	n, err := parseSize(string(text), quantity.ShareHelp)
	if err != nil {
		return err
	}
	l.Limit = retention.Limit{Bytes: n}
	return nil
}
