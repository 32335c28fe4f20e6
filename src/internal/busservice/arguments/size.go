// SPDX-License-Identifier: Apache-2.0

package arguments

import (
	"reflect"

	"github.com/godbus/dbus/v5"

	"crypto-auditing/src/internal/broker/fault"
)

// Max is how many bytes the arguments of a call may take: a filter of
// the largest size takes a third. A bus lets messages pass that have a thousand
// times as many, and a call may wait long, for polkit or for its turn.
const Max = 128 << 10

// elementSize is what an element of an array or a dictionary takes besides its
// bytes, roughly.
const elementSize = 16

// CheckSize refuses arguments that are too large to be kept.
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

// spend returns what is left after a value; less than zero, it may not have
// looked at all of it.
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
