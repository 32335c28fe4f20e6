// SPDX-License-Identifier: Apache-2.0

package client

import (
	"time"

	"github.com/godbus/dbus/v5"
)

// Filter selects groups. A group must match each field that is set, with one of the
// field's values; the zero Filter matches all. Records of losses always match.
type Filter struct {
	// Scopes are scopes of contexts, such as "tls".
	Scopes []string
	// Contexts are names of contexts; "tls::*" matches all names of a scope.
	Contexts []string
	// Keys are keys of elements; "tls::*" matches all keys of a scope.
	Keys []string
	// Executables are base names of programs.
	Executables []string
	// Origins are build-ids of libraries, hex digits.
	Origins []string
	// Units are systemd units of processes, such as "nginx.service".
	Units []string
	// Sources are "usdt", "function" or "wire". They, and Units, need version 3 of
	// the broker's interface; older brokers return ErrInvalidFilter.
	Sources []string
	// Since and Until bound the time unless they are zero.
	Since, Until time.Time
	// Matches are conditions KEY=VALUE on elements.
	Matches []string
}

// lists returns the fields that are lists by their names on the bus.
func (f *Filter) lists() map[string]*[]string {
	return map[string]*[]string{
		"scopes": &f.Scopes, "contexts": &f.Contexts, "keys": &f.Keys,
		"executables": &f.Executables, "origins": &f.Origins, "matches": &f.Matches,
		"units": &f.Units, "sources": &f.Sources,
	}
}

// Lists returns the fields that are non-empty lists by their names on the bus.
func (f *Filter) Lists() map[string][]string {
	m := map[string][]string{}
	for key, values := range f.lists() {
		if len(*values) > 0 {
			m[key] = *values
		}
	}
	return m
}

// encode returns the filter in its form on the bus.
func (f *Filter) encode() map[string]dbus.Variant {
	m := map[string]dbus.Variant{}
	for key, values := range f.Lists() {
		m[key] = dbus.MakeVariant(values)
	}
	for key, t := range map[string]time.Time{"since": f.Since, "until": f.Until} {
		if !t.IsZero() {
			m[key] = dbus.MakeVariant(micros(t))
		}
	}
	return m
}

// filterOf is the inverse of encode. It ignores unknown fields.
func filterOf(m map[string]dbus.Variant) Filter {
	var f Filter
	for key, values := range f.lists() {
		as(m[key].Value(), values)
	}
	for key, t := range map[string]*time.Time{"since": &f.Since, "until": &f.Until} {
		var us uint64
		if as(m[key].Value(), &us) {
			*t = fromMicros(us)
		}
	}
	return f
}
