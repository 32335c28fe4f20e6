// SPDX-License-Identifier: Apache-2.0

// Package retention has the rules by which parts of a log are kept or removed: whole
// segments, the oldest first. The bus, the client, crauctl and the descriptions of
// removals derive their names from the fields of Policy and Changes: the tag key is the
// name of a rule, option its option of crauctl vacuum, help its description, in which
// braces stand for backquotes.
package retention

import (
	"fmt"
	"math"
	"reflect"
	"strings"
	"time"

	"crypto-auditing/src/internal/quantity"
)

// Policy is the set of limits of a log. Zero means no limit.
type Policy struct {
	// MaxAge limits the age of an entry.
	MaxAge time.Duration `key:"max-age"`
	// MaxSize limits the size of the log, KeepFree is the space of its file system that
	// must stay free.
	MaxSize  Limit `key:"max-size"`
	KeepFree Limit `key:"keep-free"`
	// Reading is the effect of reading by the durable subscriptions. All of them have
	// read the log up to the sequence number Read.
	Reading Reading `key:"reading"`
	Read    uint64
	// Hold limits the age of entries that a lagging subscription has not read.
	Hold time.Duration `key:"hold"`
	// Force allows removing the whole log at once: every closed segment, if two or more
	// exceed the limits.
	Force bool `key:"force"`
}

// Changes overrides parts of the configured policy. A nil, empty or false field keeps
// the configured value; 0 means no limit.
type Changes struct {
	// MaxAge removes older entries.
	MaxAge *time.Duration `key:"max-age" option:"vacuum-time" help:"remove what is older than {TIME}"`
	// MaxSize limits the log to a number of bytes, MaxSizePercent, if not 0, to a
	// percentage of its file system.
	MaxSize        *uint64 `key:"max-size" option:"vacuum-size" help:"keep no more than {SIZE}"`
	MaxSizePercent uint32  `key:"max-size-percent"`
	// KeepFree keeps a number of bytes free, KeepFreePercent, if not 0, a percentage
	// of the file system.
	KeepFree        *uint64 `key:"keep-free" option:"keep-free" help:"leave {SIZE} of the file system free"`
	KeepFreePercent uint32  `key:"keep-free-percent"`
	// Reading is the effect of reading by the durable subscriptions.
	Reading Reading `key:"reading" option:"reading" help:"what all durable subscriptions have read goes (drop), what they have not stays (keep), or it does not matter (ignore): {WORD}"`
	// Hold limits how long a lagging subscription keeps parts of the log.
	Hold *time.Duration `key:"hold" option:"hold" help:"let a subscription that lags hold the log for {TIME} at most"`
	// Force allows removing the whole log at once: every file except the one being
	// written, if these are two or more.
	Force bool `key:"force" option:"force" help:"remove also the whole log at once"`
}

// Reading is the effect on a part of the log of whether all subscriptions have read it.
type Reading string

// The values of Reading.
const (
	// Ignore: no effect; only the limits decide.
	Ignore Reading = "ignore"
	// Keep: parts that are not read by all are kept regardless of the limits.
	Keep Reading = "keep"
	// Drop: parts read by all are removed at once; the limits decide about the rest.
	Drop Reading = "drop"
)

// Readings returns the values of Reading.
func Readings() []string { return []string{string(Ignore), string(Keep), string(Drop)} }

// percent is the suffix of the key of a limit that is a percentage.
const percent = "-percent"

// Rule is a field of Changes. Value points to the field.
type Rule struct {
	Key, Option, Help string
	Value             any
}

// Rules returns all fields.
func (c *Changes) Rules() (all []Rule) {
	v := reflect.ValueOf(c).Elem()
	for i := range v.NumField() {
		tag := v.Type().Field(i).Tag
		help := strings.NewReplacer("{", "`", "}", "`").Replace(tag.Get("help"))
		all = append(all, Rule{tag.Get("key"), tag.Get("option"), help, v.Field(i).Addr().Interface()})
	}
	return all
}

// BusKey returns the rule's key on the bus.
func (r *Rule) BusKey() string {
	if _, ok := r.Value.(**time.Duration); ok {
		return r.Key + "-usec"
	}
	return r.Key
}

// Share sets the percentage of a limit.
func (c *Changes) Share(key string, share uint32) { *find[uint32](c, key+percent) = share }

// Unlimit removes a limit.
func (c *Changes) Unlimit(key string) { *find[*uint64](c, key) = new(uint64) }

// ShareOf returns the key of the limit whose percentage the rule is.
func (r *Rule) ShareOf() (key string, ok bool) { return strings.CutSuffix(r.Key, percent) }

// With returns the policy with the changes.
func (p Policy) With(c Changes) (Policy, error) {
	for _, r := range c.Rules() {
		limit, _ := r.ShareOf()
		switch value := r.Value.(type) {
		case **time.Duration:
			if *value != nil {
				*find[time.Duration](&p, r.Key) = **value
			}
		case **uint64:
			if *value == nil {
				continue
			}
			if **value > math.MaxInt64 {
				return p, fmt.Errorf("%s: %d bytes are too many", r.Key, **value)
			}
			*find[Limit](&p, r.Key) = Limit{Bytes: int64(**value)}
		case *uint32:
			if *value > 100 {
				return p, fmt.Errorf("%s: %d is more than 100", r.Key, *value)
			}
			if *value > 0 {
				*find[Limit](&p, limit) = Limit{Percent: int(*value)}
			}
		case *Reading:
			if *value != "" {
				p.Reading = *value
			}
		case *bool:
			if *value {
				*find[bool](&p, r.Key) = true
			}
		}
	}
	return p, nil
}

// Without returns the policy without the rule of a key. It panics if there is no such
// rule.
func (p Policy) Without(key string) Policy {
	field(&p, key).SetZero()
	return p
}

// find returns the field of a policy or of changes that has the key. It panics if there
// is none.
func find[T any](in any, key string) *T { return field(in, key).Addr().Interface().(*T) }

func field(in any, key string) reflect.Value {
	v := reflect.ValueOf(in).Elem()
	for i := range v.NumField() {
		if v.Type().Field(i).Tag.Get("key") == key {
			return v.Field(i)
		}
	}
	panic("retention: there is no rule " + key)
}

// Given returns the set fields in their form on the bus, by key.
func (c *Changes) Given() map[string]any {
	given := map[string]any{}
	for _, r := range c.Rules() {
		switch value := r.Value.(type) {
		case **time.Duration:
			if *value != nil {
				given[r.BusKey()] = uint64(max((*value).Microseconds(), 0))
			}
		case **uint64:
			if *value != nil {
				given[r.Key] = **value
			}
		case *Reading:
			if *value != "" {
				given[r.Key] = string(*value)
			}
		default:
			if v := reflect.ValueOf(value).Elem(); !v.IsZero() {
				given[r.Key] = v.Interface()
			}
		}
	}
	return given
}

// Decision is a rule that decided about a part of the log: its key, its option of
// crauctl vacuum, and its value.
type Decision struct{ Key, Option, Value string }

// Decided returns the rules for whose keys by returns true.
func (p *Policy) Decided(by func(key string) bool) (all []Decision) {
	var c Changes
	for _, r := range c.Rules() {
		if !by(r.Key) {
			continue
		}
		d := Decision{Key: r.Key, Option: r.Option}
		switch r.Value.(type) {
		case **time.Duration:
			d.Value = quantity.FormatDuration(*find[time.Duration](p, r.Key))
		case **uint64:
			d.Value = find[Limit](p, r.Key).String()
		case *Reading:
			d.Value = string(p.Reading)
		}
		all = append(all, d)
	}
	return all
}

// Check returns an error for an invalid value.
func (p *Policy) Check() error {
	switch p.Reading {
	case Ignore, Keep, Drop:
		return nil
	}
	return fmt.Errorf("%q is not one of %s, %s and %s", p.Reading, Ignore, Keep, Drop)
}
