// SPDX-License-Identifier: Apache-2.0

// Package arguments decodes and bounds the arguments of calls on a bus. Its errors
// have names on the bus or are the broker's.
package arguments

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/godbus/dbus/v5"

	"crypto-auditing/src/internal/broker/delivery"
	"crypto-auditing/src/internal/broker/fault"
	"crypto-auditing/src/internal/broker/filter"
	"crypto-auditing/src/internal/busservice/dictionary"
	"crypto-auditing/src/internal/retention"
)

// Dictionary is the type a{sv}.
type Dictionary = dictionary.Dictionary

// Get stores a value of a dictionary, which must have the type of target.
func Get[T any](d Dictionary, key string, target *T) error { return dictionary.Get(d, key, target) }

// Known returns an error for a key that is not listed.
func Known(d Dictionary, keys ...string) error { return dictionary.Known(d, keys...) }

// Clip bounds the length of an error text that contains input.
func Clip(text string) string { return dictionary.Clip(text) }

// Names of the keys of a filter.
const (
	filterSince = "since"
	filterUntil = "until"
)

// Filter decodes a filter.
func Filter(d Dictionary) (filter.Spec, error) {
	var f filter.Spec
	lists := map[string]*[]string{}
	for _, list := range f.Lists() {
		lists[list.Name] = list.Values
	}
	for _, key := range slices.Sorted(maps.Keys(d)) {
		var err error
		switch list := lists[key]; {
		case list != nil:
			err = Get(d, key, list)
		case key == filterSince:
			err = Get(d, key, &f.Since)
		case key == filterUntil:
			err = Get(d, key, &f.Until)
		default:
			err = fmt.Errorf("there is no such key in a filter")
		}
		if err != nil {
			return f, &fault.FilterError{Key: Clip(key), Problem: err.Error()}
		}
	}
	return f, nil
}

// FilterValue encodes a filter.
func FilterValue(f filter.Spec) Dictionary {
	d := Dictionary{}
	for _, list := range f.Lists() {
		if len(*list.Values) > 0 {
			d[list.Name] = dbus.MakeVariant(*list.Values)
		}
	}
	if f.Since != 0 {
		d[filterSince] = dbus.MakeVariant(f.Since)
	}
	if f.Until != 0 {
		d[filterUntil] = dbus.MakeVariant(f.Until)
	}
	return d
}

// SubscribeOptions decodes the options of Subscribe.
func SubscribeOptions(d Dictionary) (delivery.SubscribeOptions, error) {
	var o delivery.SubscribeOptions
	var flow, form string
	var window time.Duration
	for _, err := range []error{
		Known(d, "after", "batch", "window-usec", "flow", "form"),
		Get(d, "after", &o.After), Get(d, "batch", &o.Batch), getTime(d, "window-usec", &window), Get(d, "flow", &flow),
		Get(d, "form", &form),
	} {
		if err != nil {
			return o, Invalid("options: " + err.Error())
		}
	}
	if _, ok := d["after"]; ok && o.After == "" {
		return o, Invalid("options: after is empty: leave it out, or give a cursor")
	}
	if _, ok := d["batch"]; ok && o.Batch == 0 {
		return o, Invalid("options: batch is 0: it is 1 at least")
	}
	if _, ok := d["flow"]; ok && flow == "" {
		return o, Invalid("options: flow is empty")
	}
	if _, ok := d["form"]; ok && form == "" {
		return o, Invalid("options: form is empty")
	}
	o.Flow, o.Form = delivery.Flow(flow), delivery.Form(form)
	if _, ok := d["window-usec"]; ok {
		o.Window = &window
	}
	return o, nil
}

// Flag decodes options of which there is only one, which is true or false.
func Flag(d Dictionary, key string) (value bool, err error) {
	if err = Known(d, key); err == nil {
		err = Get(d, key, &value)
	}
	if err != nil {
		return false, Invalid("options: " + err.Error())
	}
	return value, nil
}

// Invalid returns an error for invalid arguments.
func Invalid(text string) error { return dictionary.Invalid(text) }

// duration converts microseconds.
func duration(us uint64) (time.Duration, error) {
	if us > math.MaxInt64/uint64(time.Microsecond) {
		return 0, fmt.Errorf("%d microseconds are too many", us)
	}
	return time.Duration(us) * time.Microsecond, nil
}

// Policy decodes a retention policy, whose missing rules are the configured ones.
func Policy(d Dictionary, p retention.Policy) (retention.Policy, error) {
	var changes retention.Changes
	rules := changes.Rules()
	keys := make([]string, len(rules))
	for i := range rules {
		keys[i] = rules[i].BusKey()
	}
	err := Known(d, keys...)
	for i := 0; i < len(rules) && err == nil; i++ {
		err = getRule(d, &rules[i], &changes)
	}
	if err == nil {
		p, err = p.With(changes)
	}
	if err != nil {
		return p, Invalid("policy: " + err.Error())
	}
	return p, nil
}

// getRule stores a rule of a policy.
func getRule(d Dictionary, r *retention.Rule, changes *retention.Changes) error {
	if _, ok := d[r.BusKey()]; !ok {
		return nil
	}
	switch value := r.Value.(type) {
	case **time.Duration:
		*value = new(time.Duration)
		return getTime(d, r.BusKey(), *value)
	case **uint64:
		*value = new(uint64)
		return Get(d, r.Key, *value)
	case *uint32:
		limit, _ := r.ShareOf()
		if _, ok := d[limit]; ok {
			return fmt.Errorf("%s and %s exclude each other", limit, r.Key)
		}
		if err := Get(d, r.Key, value); err != nil {
			return err
		}
		if *value == 0 {
			changes.Unlimit(limit)
		}
		return nil
	case *retention.Reading:
		var word string
		if err := Get(d, r.Key, &word); err != nil {
			return err
		}
		if *value = retention.Reading(word); word == "" {
			return fmt.Errorf("%s is empty", r.Key)
		}
		return nil
	case *bool:
		return Get(d, r.Key, value)
	}
	return nil
}

// getTime stores a duration given in µs.
func getTime(d Dictionary, key string, target *time.Duration) error {
	if _, ok := d[key]; !ok {
		return nil
	}
	var us uint64
	if err := Get(d, key, &us); err != nil {
		return err
	}
	t, err := duration(us)
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	*target = t
	return nil
}
