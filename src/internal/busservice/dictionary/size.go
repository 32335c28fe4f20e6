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
		left = spend(reflect.ValueOf(a), left)
	}
	return left >= 0
}

// spend returns the part of a budget that remains after a value. It stops early
// once the result is negative.
func spend(v reflect.Value, left int) int {
	switch v.Kind() {
	case reflect.Invalid:
		return left
	case reflect.String:
		return left - v.Len()
	case reflect.Slice:
		if e := v.Type().Elem(); e.Kind() < reflect.Complex64 { // numbers
			return left - v.Len()*int(e.Size())
		}
		for i := 0; i < v.Len() && left >= 0; i++ {
			left = spend(v.Index(i), left-elementSize)
		}
		return left
	case reflect.Map:
		for each := v.MapRange(); left >= 0 && each.Next(); {
			left = spend(each.Value(), spend(each.Key(), left-elementSize))
		}
		return left
	case reflect.Interface:
		return spend(v.Elem(), left)
	}
	if variant, ok := v.Interface().(dbus.Variant); ok {
		return spend(reflect.ValueOf(variant.Value()), left-elementSize)
	}
	return left - elementSize
}
