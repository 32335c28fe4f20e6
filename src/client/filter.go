// SPDX-License-Identifier: Apache-2.0

package client

import (
	"time"

	"github.com/godbus/dbus/v5"
)

// Filter selects groups. A group must pass each field that is set, by one of
// its values; the zero Filter passes all. Records of losses always pass.
type Filter struct {
	// Scopes are those of contexts, as "tls".
	Scopes []string
	// Contexts are names of contexts; "tls::*" is all of a scope.
	Contexts []string
	// Keys are keys of data; "tls::*" is all of a scope.
	Keys []string
	// Executables are base names of programs.
	Executables []string
	// Origins are build-ids of libraries, hex digits.
	Origins []string
	// Units are systemd units of processes, as "nginx.service".
	Units []string
	// Sources are "usdt", "function" or "wire". They, and Units, need version 3
	// of the broker's interface; before, they are an ErrInvalidFilter.
	Sources []string
	// Since and Until bound the time, where they are not zero.
	Since, Until time.Time
	// Matches are conditions KEY=VALUE on data.
	Matches []string
}

// lists returns the fields that are lists, under their names on the bus.
func (f *Filter) lists() map[string]*[]string {
	return map[string]*[]string{
		"scopes": &f.Scopes, "contexts": &f.Contexts, "keys": &f.Keys,
		"executables": &f.Executables, "origins": &f.Origins, "matches": &f.Matches,
		"units": &f.Units, "sources": &f.Sources,
	}
}

// Lists returns the fields that are lists and not empty, under their names on the
// bus.
func (f *Filter) Lists() map[string][]string {
	m := map[string][]string{}
	for key, values := range f.lists() {
		if len(*values) > 0 {
			m[key] = *values
		}
	}
	return m
}

// encode returns the filter as the bus has it.
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

// filterOf is the reverse of encode. It passes over what it does not know.
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
