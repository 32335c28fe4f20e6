// SPDX-License-Identifier: Apache-2.0

package row_test

import (
	"reflect"
	"testing"

	"crypto-auditing/src/internal/inventory/row"
)

func TestFieldsListAllFieldsOfAUse(t *testing.T) {
	var u row.Use
	seen := map[any]string{}
	for _, f := range row.Fields() {
		if other, twice := seen[f.Pointer(&u)]; twice {
			t.Errorf("%s and %s are the same field", f.Name, other)
		}
		seen[f.Pointer(&u)] = f.Name
	}
	var count func(reflect.Value)
	count = func(v reflect.Value) {
		for i := range v.NumField() {
			field := v.Field(i)
			if field.Kind() == reflect.Struct {
				count(field)
			} else if _, ok := seen[field.Addr().Interface()]; !ok {
				t.Errorf("%s of %s is not one of Fields", v.Type().Field(i).Name, v.Type())
			}
		}
	}
	count(reflect.ValueOf(&u).Elem())
}

func TestFieldsRoundTripAsText(t *testing.T) {
	var u row.Use
	for _, f := range row.Fields() {
		text := f.Name
		if f.IsNumber() {
			text = "2048"
		}
		if f.Text(&u) != "" {
			t.Errorf("%s of an empty use is %q", f.Name, f.Text(&u))
		}
		if err := f.SetText(&u, text); err != nil || f.Text(&u) != text {
			t.Errorf("%s is %q after it was set to %q: %v", f.Name, f.Text(&u), text, err)
		}
		if f.IsNumber() && f.SetText(&u, "many") == nil {
			t.Errorf("the number %s accepts text", f.Name)
		}
	}
	if _, ok := row.FieldNamed("kernel"); ok {
		t.Error("the field kernel exists")
	}
	if f, ok := row.FieldNamed("bits"); !ok || f.Value(&u) != 2048 {
		t.Errorf("bits are %v, %v", f, ok)
	}
}

func TestUsesAreOrderedByProgramUnitAndOperation(t *testing.T) {
	sorted := []row.Use{
		{Executable: "a", Unit: "z", Operation: "z"},
		{Executable: "b", Unit: "a", Operation: "z"},
		{Executable: "b", Unit: "b", Operation: "a", Parameters: row.Parameters{Bits: 9}},
		{Executable: "b", Unit: "b", Operation: "b", Parameters: row.Parameters{Bits: 1}},
		{Executable: "b", Unit: "b", Operation: "b", Parameters: row.Parameters{Bits: 2}},
	}
	for i := range sorted {
		for j := range sorted {
			got := sorted[i].Compare(&sorted[j])
			if (got < 0) != (i < j) || (got > 0) != (i > j) {
				t.Errorf("%v and %v compare as %d", sorted[i], sorted[j], got)
			}
		}
	}
}
