// SPDX-License-Identifier: Apache-2.0

// Package dictionary reads dictionaries, a{sv}, and other arguments of calls on a bus that may be
// hostile.
package dictionary

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/godbus/dbus/v5"

	"crypto-auditing/src/internal/busservice/transport"
)

// Dictionary is the type a{sv}.
type Dictionary = map[string]dbus.Variant

// Get stores a value of a dictionary, which must have the type of target.
func Get[T any](d Dictionary, key string, target *T) error {
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

// Known returns an error for a key that is not listed.
func Known(d Dictionary, keys ...string) error {
	for _, key := range slices.Sorted(maps.Keys(d)) {
		if !slices.Contains(keys, key) {
			return fmt.Errorf("there is no %s; there are: %s", Clip(key), strings.Join(keys, " "))
		}
	}
	return nil
}

// Clip bounds the length of an error text that contains input.
func Clip(text string) string {
	const most = 100
	if len(text) > most {
		return fmt.Sprintf("%q…", text[:most])
	}
	return fmt.Sprintf("%q", text)
}

// Invalid returns an error for invalid arguments.
func Invalid(text string) error { return &transport.Error{Name: transport.InvalidArgs, Text: text} }
