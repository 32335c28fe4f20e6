// SPDX-License-Identifier: Apache-2.0

// Package status defines the status of the agent and of the broker. Each is one type,
// and all output formats are derived from its fields. The tags of a field:
//
//	bus      the key in an a{sv} of org.crypto_auditing.Broker; after a comma, "u"
//	         selects u instead of t, "tuple" an array of structures; "*" collects
//	         the keys of no other field
//	json     the name in crauctl status --output=json
//	varlink  the name in the varlink interfaces, if it differs
//	metric   a metric for Prometheus: name, type and, if it is not 0, a number by
//	         which the metrics are sorted; help is its description
//	label    a label of the metrics of the elements of an array
//
// "omitempty" omits an empty field; a field without a name is absent from that format.
// Times are in µs since the Unix epoch, 0 if unset; durations are in µs.
package status

import (
	"reflect"
	"strings"
	"time"
)

// walk calls do for each field of a structure that has a name in one of the tags. The
// first of tags that the field has is used.
func walk(v reflect.Value, do func(name, option string, field reflect.Value), tags ...string) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if f.Anonymous {
			if inner := reflect.Indirect(v.Field(i)); inner.IsValid() {
				walk(inner, do, tags...)
			}
			continue
		}
		for _, tag := range tags {
			text, ok := f.Tag.Lookup(tag)
			if !ok {
				continue
			}
			name, option, _ := strings.Cut(text, ",")
			if name != "-" {
				do(name, option, v.Field(i))
			}
			break
		}
	}
}

// omitted reports whether a field is omitted.
func omitted(option string, field reflect.Value) bool { return option == "omitempty" && field.IsZero() }

// micros returns a time in µs since the Unix epoch, 0 if it is unset.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}
