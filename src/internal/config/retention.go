// SPDX-License-Identifier: Apache-2.0

package config

import (
	"crypto-auditing/src/internal/quantity"
	"crypto-auditing/src/internal/retention"
)

// Retention is what is kept of a log, in both configurations.
type Retention struct {
	// MaxSize bounds the log, KeepFree is what it leaves of its file system:
	// "auto" is a tenth of the file system, at most 4G, and 15 % of it; 0 is no
	// limit.
	MaxSize  Limit `toml:"max_size" help:"of the log: 10% of the file system, at most 4G"`
	KeepFree Limit `toml:"keep_free" help:"of the file system: 15%"`
	// MaxAge is how old an event may become; 0: any age.
	MaxAge Duration `toml:"max_age" help:"of an event; 0: any"`
}

// defaultRetention returns the defaults.
func defaultRetention() Retention {
	auto := Limit{retention.Limit{Auto: true}}
	return Retention{MaxSize: auto, KeepFree: auto}
}

// quantities are the keys, whose names begin with that of a table.
func (r *Retention) quantities(table string) []quantityKey {
	return []quantityKey{
		{name: table + "max_size"},
		{name: table + "keep_free"},
		{name: table + "max_age", duration: &r.MaxAge, number: ignored, off: true},
	}
}

// Policy returns what the values mean.
func (r *Retention) Policy() retention.Policy {
	return retention.Policy{MaxAge: r.MaxAge.Duration, MaxSize: r.MaxSize.Limit, KeepFree: r.KeepFree.Limit}
}

// Truncate is what is kept of the log when it is truncated.
type Truncate struct {
	Retention
	// Reading is what it means that all durable subscriptions have read a part
	// of the log: "ignore", "keep" or "drop".
	Reading string `toml:"reading" help:"what durable subscriptions have not read is kept;\n\"ignore\": that is no matter; \"drop\": what all\nhave read goes at once"`
	// Hold is how old what a lagging subscription has not read may become; 0:
	// any age.
	Hold Duration `toml:"hold" help:"how long, at most; 0: forever"`
}

// quantities are the keys of the table.
func (t *Truncate) quantities() []quantityKey {
	return append(t.Retention.quantities("truncate."), quantityKey{name: "truncate.hold", duration: &t.Hold, number: ignored, off: true})
}

// Policy returns what the values mean.
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
