// SPDX-License-Identifier: Apache-2.0

package dictionary

import (
	"reflect"

	"github.com/godbus/dbus/v5"
)

// elementSize approximates the overhead of an element of an array or a dictionary,
// in bytes.
const elementSize = 16

// Fits reports whether arguments take at most a number of bytes in memory. A bus accepts messages
// that are much larger, and a call may wait long for polkit or for a free slot.
func Fits(arguments []any, most int) bool {
	left := most
	for _, a := range arguments {
		left = remaining(reflect.ValueOf(a), left)
	}
	return left >= 0
}

// remaining returns the part of a budget that remains after a value. It stops early
// once the result is negative.
func remaining(v reflect.Value, budget int) int {
	switch v.Kind() {
	case reflect.Invalid:
		return budget
	case reflect.String:
		return budget - v.Len()
	case reflect.Slice:
		if e := v.Type().Elem(); e.Kind() < reflect.Complex64 { // numbers
			return budget - v.Len()*int(e.Size())
		}
		for i := 0; i < v.Len() && budget >= 0; i++ {
			budget = remaining(v.Index(i), budget-elementSize)
		}
		return budget
	case reflect.Map:
		for each := v.MapRange(); budget >= 0 && each.Next(); {
			budget = remaining(each.Value(), remaining(each.Key(), budget-elementSize))
		}
		return budget
	case reflect.Interface:
		return remaining(v.Elem(), budget)
	}
	if variant, ok := v.Interface().(dbus.Variant); ok {
		return remaining(reflect.ValueOf(variant.Value()), budget-elementSize)
	}
	return budget - elementSize
}
