// SPDX-License-Identifier: Apache-2.0

// Package status has what agent and broker report of themselves: one type each,
// whose fields are the table from which every form is made. A field's tags are
// its names:
//
//	bus      the key in an a{sv} of org.crypto_auditing.Broker; "u" after a comma
//	         makes it a u instead of a t, "tuple" an array of structures, "*" takes
//	         the keys that no other field has
//	json     in crauctl status --output=json
//	varlink  in the varlink interfaces, if that differs
//	metric   a metric for Prometheus: name, type, and, if it is not 0, a number by
//	         which the metrics are ordered; help is its description
//	label    a label of the metrics of the elements of an array
//
// "omitempty" leaves out what is empty, and a field without a name is not in that
// form. Times are µs since the Unix epoch, 0 for none, and lengths of time µs.
package status

import (
	"reflect"
	"strings"
	"time"
)

// walk calls do for each field of a structure that has a name under one of the
// tags, of which the first that is there counts.
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

// omitted reports whether a field is left out.
func omitted(option string, field reflect.Value) bool { return option == "omitempty" && field.IsZero() }

// micros is a time in µs since the Unix epoch, 0 for none.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}
