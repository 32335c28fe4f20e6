// SPDX-License-Identifier: Apache-2.0

package arguments

import (
	"reflect"

	"github.com/godbus/dbus/v5"

	"crypto-auditing/src/internal/broker/fault"
)

// Max bounds the decoded arguments of a call, in bytes: the largest valid filter
// takes a third of it. A bus accepts messages a thousand times as large, and a
// call may wait long for polkit or for a free slot.
const Max = 128 << 10

// elementSize approximates the overhead of an element of an array or a dictionary,
// in bytes.
const elementSize = 16

// CheckSize returns an error for arguments that are too large to keep.
func CheckSize(arguments []any) error {
	left := Max
	for _, a := range arguments {
		left = spend(reflect.ValueOf(a), left)
	}
	if left < 0 {
		return &fault.LimitError{What: "bytes of arguments", Max: Max}
	}
	return nil
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
