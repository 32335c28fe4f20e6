// SPDX-License-Identifier: Apache-2.0

package status

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"time"
)

// JSON returns a structure as JSON with the names of the json tags.
func JSON(v any) (json.RawMessage, error) { return appendJSON(nil, reflect.ValueOf(v), "json") }

// Varlink returns a structure in its form in the varlink interfaces. Their numbers are
// signed; larger numbers become the largest one.
func Varlink(v any) (json.RawMessage, error) {
	return appendJSON(nil, reflect.ValueOf(v), "varlink", "json")
}

func appendJSON(dst []byte, v reflect.Value, tags ...string) (_ []byte, err error) {
	v = reflect.Indirect(v)
	switch value := v.Interface().(type) {
	case time.Time:
		return strconv.AppendInt(dst, micros(value), 10), nil
	case time.Duration:
		return strconv.AppendInt(dst, value.Microseconds(), 10), nil
	case Lost:
		if tags[0] == "varlink" {
			return appendJSON(dst, reflect.ValueOf(value.list()), tags...)
		}
	case uint64:
		return strconv.AppendUint(dst, min(value, math.MaxInt64), 10), nil
	}
	switch v.Kind() {
	case reflect.Struct:
		separator := byte('{')
		walk(v, func(name, option string, field reflect.Value) {
			if err == nil && !omitted(option, field) {
				dst = append(strconv.AppendQuote(append(dst, separator), name), ':')
				dst, err = appendJSON(dst, field, tags...)
				separator = ','
			}
		}, tags...)
		if separator == '{' {
			dst = append(dst, '{')
		}
		return append(dst, '}'), err
	case reflect.Slice:
		dst = append(dst, '[')
		for i := 0; i < v.Len() && err == nil; i++ {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst, err = appendJSON(dst, v.Index(i), tags...)
		}
		return append(dst, ']'), err
	}
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false) // left to the encoder of the result
	err = e.Encode(v.Interface())
	return append(dst, bytes.TrimSuffix(text.Bytes(), []byte("\n"))...), err
}

// list returns the losses in their form in the varlink interfaces.
func (l Lost) list() any {
	type loss struct {
		Reason string `json:"reason"`
		Events uint64 `json:"events"`
	}
	list := []loss{}
	for _, reason := range slices.Sorted(maps.Keys(l)) {
		list = append(list, loss{reason, l[reason]})
	}
	return list
}

// FromVarlink sets the fields of the structure that to points to. The errors are from
// json.Unmarshal.
func FromVarlink(text json.RawMessage, to any) error {
	return decode(text, reflect.ValueOf(to).Elem())
}

func decode(text json.RawMessage, v reflect.Value) error {
	switch p := v.Addr().Interface().(type) {
	case *time.Time:
		var us int64
		if err := json.Unmarshal(text, &us); err != nil {
			return err
		}
		*p = optional(us)
		return nil
	case *time.Duration:
		var us int64
		err := json.Unmarshal(text, &us)
		*p = time.Duration(us) * time.Microsecond
		return err
	}
	switch {
	case v.Kind() == reflect.Struct:
		var members map[string]json.RawMessage
		err := json.Unmarshal(text, &members)
		walk(v, func(name, _ string, field reflect.Value) {
			if member, ok := members[name]; ok && err == nil {
				if err = decode(member, field); err != nil {
					err = fmt.Errorf("%s: %w", name, err)
				}
			}
		}, "varlink", "json")
		return err
	case v.Kind() == reflect.Slice:
		var elements []json.RawMessage
		if err := json.Unmarshal(text, &elements); err != nil {
			return err
		}
		v.Set(reflect.MakeSlice(v.Type(), len(elements), len(elements)))
		for i := range elements {
			if err := decode(elements[i], v.Index(i)); err != nil {
				return err
			}
		}
		return nil
	}
	return json.Unmarshal(text, v.Addr().Interface())
}

// optional is the inverse of micros.
func optional(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us)
}
