// SPDX-License-Identifier: Apache-2.0

package status

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"time"
)

// Variant is a value on the bus.
type Variant interface {
	Value() any
	Store(to any) error
}

// Dictionary returns a structure in its form on the bus, a{sv}.
func Dictionary[V Variant](structure any, variant func(any) V) map[string]V {
	return dictionary(reflect.Indirect(reflect.ValueOf(structure)), variant)
}

func dictionary[V Variant](structure reflect.Value, variant func(any) V) map[string]V {
	d := map[string]V{}
	walk(structure, func(key, option string, field reflect.Value) {
		if key == "*" || omitted(option, field) || field.Kind() == reflect.Pointer && field.IsNil() {
			return
		}
		d[key] = variant(onBus(field, option, variant))
	}, "bus")
	return d
}

// onBus returns a field in its form on the bus.
func onBus[V Variant](v reflect.Value, option string, variant func(any) V) any {
	switch value := v.Interface().(type) {
	case time.Time:
		return uint64(max(micros(value), 0))
	case time.Duration:
		return uint64(max(value.Microseconds(), 0))
	case uint64:
		if option == "u" {
			return uint32(min(value, math.MaxUint32))
		}
	case Lost:
		return map[string]uint64(value)
	case []string:
		return slices.Concat([]string{}, value)
	}
	switch {
	case v.Kind() == reflect.Pointer:
		return dictionary(v.Elem(), variant)
	case option == "tuple":
		list := reflect.MakeSlice(reflect.SliceOf(tupleOf(v.Type().Elem())), v.Len(), v.Len())
		for i := range v.Len() {
			member := 0
			walk(v.Index(i), func(_, _ string, field reflect.Value) {
				list.Index(i).Field(member).Set(reflect.ValueOf(onBus(field, "", variant)))
				member++
			}, "bus")
		}
		return list.Interface()
	case v.Kind() == reflect.Slice:
		list := make([]map[string]V, v.Len())
		for i := range list {
			list[i] = dictionary(v.Index(i), variant)
		}
		return list
	}
	return v.Interface()
}

// tupleOf returns the structure type on the bus for a type of this package.
func tupleOf(t reflect.Type) reflect.Type {
	var members []reflect.StructField
	for i := range t.NumField() {
		if f := t.Field(i); f.Tag.Get("bus") != "" {
			if f.Type == reflect.TypeFor[time.Time]() {
				f.Type = reflect.TypeFor[uint64]()
			}
			members = append(members, reflect.StructField{Name: f.Name, Type: f.Type})
		}
	}
	return reflect.StructOf(members)
}

// FromBus sets the fields of the structure that to points to, and removes their keys
// from d. Numbers may have any unsigned type. The error describes the first value of a
// wrong type; all other fields are set.
func FromBus[V Variant](d map[string]V, to any) (first error) {
	var rest *map[string]any
	walk(reflect.ValueOf(to).Elem(), func(key, option string, field reflect.Value) {
		if key == "*" {
			rest, _ = field.Addr().Interface().(*map[string]any)
			return
		}
		v, ok := d[key]
		if !ok {
			return
		}
		delete(d, key)
		if err := fromBus(v, option, field); err != nil && first == nil {
			first = fmt.Errorf("%s: %w", key, err)
		}
	}, "bus")
	if rest != nil && len(d) > 0 {
		*rest = make(map[string]any, len(d))
		for key, v := range d {
			(*rest)[key] = v.Value()
		}
	}
	return first
}

func fromBus[V Variant](v V, option string, to reflect.Value) error {
	switch to := to.Addr().Interface().(type) {
	case *uint64:
		switch n := v.Value().(type) {
		case uint64:
			*to = n
		case uint32:
			*to = uint64(n)
		default:
			return fmt.Errorf("it is a %T", n)
		}
		return nil
	case *time.Time:
		var us uint64
		err := v.Store(&us)
		*to = optional(int64(min(us, math.MaxInt64)))
		return err
	case *time.Duration:
		var us uint64
		err := v.Store(&us)
		*to = time.Duration(min(us, math.MaxInt64/1000)) * time.Microsecond
		return err
	}
	switch {
	case to.Kind() == reflect.Pointer:
		var d map[string]V
		if err := v.Store(&d); err != nil {
			return err
		}
		to.Set(reflect.New(to.Type().Elem()))
		return FromBus(d, to.Interface())
	case option == "tuple":
		return fromTuples(v, to)
	case to.Kind() == reflect.Slice && to.Type().Elem().Kind() == reflect.Struct:
		var list []map[string]V
		if err := v.Store(&list); err != nil {
			return err
		}
		to.Set(reflect.MakeSlice(to.Type(), len(list), len(list)))
		for i := range list {
			if err := FromBus(list[i], to.Index(i).Addr().Interface()); err != nil {
				return err
			}
		}
		return nil
	}
	return v.Store(to.Addr().Interface())
}

// fromTuples sets an array of structures. Its times are always set.
func fromTuples(v Variant, to reflect.Value) error {
	list := reflect.New(reflect.SliceOf(tupleOf(to.Type().Elem())))
	if err := v.Store(list.Interface()); err != nil {
		return err
	}
	to.Set(reflect.MakeSlice(to.Type(), list.Elem().Len(), list.Elem().Len()))
	for i := range to.Len() {
		member := 0
		walk(to.Index(i), func(_, _ string, field reflect.Value) {
			from := list.Elem().Index(i).Field(member)
			member++
			if t, ok := field.Addr().Interface().(*time.Time); ok {
				*t = time.UnixMicro(int64(min(from.Uint(), math.MaxInt64)))
				return
			}
			field.Set(from)
		}, "bus")
	}
	return nil
}
