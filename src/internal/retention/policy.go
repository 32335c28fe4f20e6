// SPDX-License-Identifier: Apache-2.0

// Package retention has the rules by which parts of a log are kept or removed:
// whole segments, the oldest first. The fields of its two types are the table from
// which the bus, the client, crauctl and the descriptions of removals are made:
// their tag key is a rule's name, option the one of crauctl vacuum, help its
// description, where braces stand for backquotes.
package retention

import (
	"fmt"
	"math"
	"reflect"
	"strings"
	"time"

	"crypto-auditing/src/internal/quantity"
)

// Policy is how much of a log is kept. Zero is no limit.
type Policy struct {
	// MaxAge is how old an entry may become.
	MaxAge time.Duration `key:"max-age"`
	// MaxSize is how much the log may have, KeepFree what it leaves free of its
	// file system for others.
	MaxSize  Limit `key:"max-size"`
	KeepFree Limit `key:"keep-free"`
	// Reading is what it means that the log was read, up to the sequence Read.
	Reading Reading `key:"reading"`
	Read    uint64
	// Hold is how old what a lagging subscription has not read may become.
	Hold time.Duration `key:"hold"`
	// Force allows removing the whole log at once: every closed segment, if there
	// are two or more that the limits do not allow.
	Force bool `key:"force"`
}

// Changes are what is to be kept otherwise than configured. What is nil, empty or
// false is as it is configured; 0 is no limit.
type Changes struct {
	// MaxAge removes what is older.
	MaxAge *time.Duration `key:"max-age" option:"vacuum-time" help:"remove what is older than {TIME}"`
	// MaxSize keeps no more bytes, or percent, above 0, of the file system of the
	// log.
	MaxSize        *uint64 `key:"max-size" option:"vacuum-size" help:"keep no more than {SIZE}"`
	MaxSizePercent uint32  `key:"max-size-percent"`
	// KeepFree leaves so many bytes, or percent, above 0, of the file system free.
	KeepFree        *uint64 `key:"keep-free" option:"keep-free" help:"leave {SIZE} of the file system free"`
	KeepFreePercent uint32  `key:"keep-free-percent"`
	// Reading is what it means that all durable subscriptions have read a part
	// of the log.
	Reading Reading `key:"reading" option:"reading" help:"what all durable subscriptions have read goes (drop), what they have not stays (keep), or it does not matter (ignore): {WORD}"`
	// Hold is how long a subscription that lags may hold the log.
	Hold *time.Duration `key:"hold" option:"hold" help:"let a subscription that lags hold the log for {TIME} at most"`
	// Force allows removing the whole log at once: every file but the one that is
	// written to, if those are two or more.
	Force bool `key:"force" option:"force" help:"remove also the whole log at once"`
}

// Reading is what it means for a part of the log that all readers have read it,
// or that one has not.
type Reading string

// The meanings.
const (
	// Ignore: nothing, the limits alone decide.
	Ignore Reading = "ignore"
	// Keep: what has not been read stays, whatever the limits say.
	Keep Reading = "keep"
	// Drop: what has been read goes at once, and what has not as the limits say.
	Drop Reading = "drop"
)

// Readings are the values of Reading.
func Readings() []string { return []string{string(Ignore), string(Keep), string(Drop)} }

// percent ends the key of a limit that is given as a share.
const percent = "-percent"

// Rule is a field of Changes, to whose value it points.
type Rule struct {
	Key, Option, Help string
	Value             any
}

// Rules are all fields.
func (c *Changes) Rules() (all []Rule) {
	v := reflect.ValueOf(c).Elem()
	for i := range v.NumField() {
		tag := v.Type().Field(i).Tag
		help := strings.NewReplacer("{", "`", "}", "`").Replace(tag.Get("help"))
		all = append(all, Rule{tag.Get("key"), tag.Get("option"), help, v.Field(i).Addr().Interface()})
	}
	return all
}

// BusKey is the rule's key on the bus.
func (r *Rule) BusKey() string {
	if _, ok := r.Value.(**time.Duration); ok {
		return r.Key + "-usec"
	}
	return r.Key
}

// Share sets the percentage of a limit.
func (c *Changes) Share(key string, share uint32) { *find[uint32](c, key+percent) = share }

// Unlimit sets that there is no limit.
func (c *Changes) Unlimit(key string) { *find[*uint64](c, key) = new(uint64) }

// ShareOf returns the key of the limit of which a rule is the percentage.
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

// Without returns the policy without the rule of a key, which there must be.
func (p Policy) Without(key string) Policy {
	field(&p, key).SetZero()
	return p
}

// find returns the field with a key, which there must be, of a policy or of
// changes.
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

// Given returns the changes as the bus has them, by key.
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

// Decision is a rule that decided about a part of the log: its key, the option of
// crauctl vacuum, and its value.
type Decision struct{ Key, Option, Value string }

// Decided returns the rules that decided, given which keys did.
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

// Check reports a value that cannot be.
func (p *Policy) Check() error {
	switch p.Reading {
	case Ignore, Keep, Drop:
		return nil
	}
	return fmt.Errorf("%q is none of %s, %s and %s", p.Reading, Ignore, Keep, Drop)
}
