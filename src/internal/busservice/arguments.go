// SPDX-License-Identifier: Apache-2.0

package busservice

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"

	"crypto-auditing/src/internal/broker"
	"crypto-auditing/src/internal/broker/delivery"
	"crypto-auditing/src/internal/broker/fault"
	"crypto-auditing/src/internal/broker/filter"
)

// dictionary is an a{sv}.
type dictionary = map[string]dbus.Variant

// get stores a value of a dictionary, which must be of the type of target.
func get[T any](d dictionary, key string, target *T) error {
	v, ok := d[key]
	if !ok {
		return nil
	}
	value, ok := v.Value().(T)
	if !ok {
		return fmt.Errorf("the value of %s is of type %s, not %s", key, v.Signature(), dbus.SignatureOf(*target))
	}
	*target = value
	return nil
}

// known reports a key that is none of those listed.
func known(d dictionary, keys ...string) error {
	for _, key := range slices.Sorted(maps.Keys(d)) {
		if !slices.Contains(keys, key) {
			return fmt.Errorf("there is no %s; there are: %s", clip(key), strings.Join(keys, " "))
		}
	}
	return nil
}

// clip keeps an error short whatever was given.
func clip(text string) string {
	const most = 100
	if len(text) > most {
		return fmt.Sprintf("%q…", text[:most])
	}
	return fmt.Sprintf("%q", text)
}

// Names of the keys of a filter.
const (
	filterSince = "since"
	filterUntil = "until"
)

// filterOf reads a filter.
func filterOf(d dictionary) (filter.Spec, error) {
	var f filter.Spec
	for _, key := range slices.Sorted(maps.Keys(d)) {
		var err error
		switch list := f.List(key); {
		case list != nil:
			err = get(d, key, list)
		case key == filterSince:
			err = get(d, key, &f.Since)
		case key == filterUntil:
			err = get(d, key, &f.Until)
		default:
			err = fmt.Errorf("there is no such key in a filter")
		}
		if err != nil {
			return f, &fault.FilterError{Key: clip(key), Problem: err.Error()}
		}
	}
	return f, nil
}

// dictionaryOf writes a filter.
func dictionaryOf(f filter.Spec) dictionary {
	d := dictionary{}
	for _, key := range []string{"scopes", "contexts", "keys", "executables", "origins", "matches"} {
		if list := *f.List(key); len(list) > 0 {
			d[key] = dbus.MakeVariant(list)
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

// optionsOf reads the options of Subscribe.
func optionsOf(d dictionary) (delivery.SubscribeOptions, error) {
	var o delivery.SubscribeOptions
	var flow string
	var window time.Duration
	for _, err := range []error{
		known(d, "after", "batch", "window-usec", "flow"),
		get(d, "after", &o.After), get(d, "batch", &o.Batch), getTime(d, "window-usec", &window), get(d, "flow", &flow),
	} {
		if err != nil {
			return o, invalid("options: " + err.Error())
		}
	}
	if _, ok := d["after"]; ok && o.After == "" {
		return o, invalid("options: after is empty: leave it out, or give a cursor")
	}
	if _, ok := d["batch"]; ok && o.Batch == 0 {
		return o, invalid("options: batch is 0: it is 1 at least")
	}
	if _, ok := d["flow"]; ok && flow == "" {
		return o, invalid("options: flow is empty")
	}
	o.Flow = delivery.Flow(flow)
	if _, ok := d["window-usec"]; ok {
		o.Window = &window
	}
	return o, nil
}

// duration turns microseconds into a length of time.
func duration(us uint64) (time.Duration, error) {
	if us > math.MaxInt64/uint64(time.Microsecond) {
		return 0, fmt.Errorf("%d microseconds are too many", us)
	}
	return time.Duration(us) * time.Microsecond, nil
}

// policyOf reads what a policy says otherwise than the configured one.
func policyOf(d dictionary, p broker.Policy) (broker.Policy, error) {
	rule := string(p.Reading)
	for _, err := range []error{
		known(d, "max-age-usec", "max-size", "max-size-percent", "keep-free", "keep-free-percent", "reading", "hold-usec", "force"),
		getTime(d, "max-age-usec", &p.MaxAge), getTime(d, "hold-usec", &p.Hold),
		getLimit(d, "max-size", &p.MaxSize), getLimit(d, "keep-free", &p.KeepFree),
		get(d, "reading", &rule), get(d, "force", &p.Force),
	} {
		if err != nil {
			return p, invalid("policy: " + err.Error())
		}
	}
	p.Reading = broker.ReadRule(rule)
	return p, nil
}

// getTime stores a length of time in µs.
func getTime(d dictionary, key string, target *time.Duration) error {
	if _, ok := d[key]; !ok {
		return nil
	}
	var us uint64
	if err := get(d, key, &us); err != nil {
		return err
	}
	t, err := duration(us)
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	*target = t
	return nil
}

// getLimit stores a number of bytes, or a percentage.
func getLimit(d dictionary, key string, target *broker.Limit) error {
	share := key + "-percent"
	_, hasSize := d[key]
	_, hasShare := d[share]
	var size uint64
	var percent uint32
	switch err := errors.Join(get(d, key, &size), get(d, share, &percent)); {
	case err != nil:
		return err
	case hasSize && hasShare:
		return fmt.Errorf("%s and %s exclude each other", key, share)
	case size > math.MaxInt64:
		return fmt.Errorf("%s: %d bytes are too many", key, size)
	case percent > 100:
		return fmt.Errorf("%s: %d is more than 100", share, percent)
	case hasSize || hasShare:
		*target = broker.Limit{Bytes: int64(size), Percent: int(percent)}
	}
	return nil
}
