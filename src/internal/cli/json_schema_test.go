// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"crypto-auditing/src/internal/event"
)

// validator checks values against what docs/query.schema.json uses of JSON Schema
// 2020-12, and knows no more of it.
type validator struct{ root map[string]any }

func (v *validator) check(schema map[string]any, value any) error {
	for keyword := range schema {
		if !slices.Contains([]string{
			"$schema", "$comment", "$defs", "$ref", "title", "description", "anyOf", "const", "type", "required",
			"properties", "additionalProperties", "items", "pattern", "minimum", "maximum",
		}, keyword) {
			return fmt.Errorf("the validator does not know %q", keyword)
		}
	}
	if ref, ok := schema["$ref"].(string); ok {
		name := strings.TrimPrefix(ref, "#/$defs/")
		if err := v.check(v.root["$defs"].(map[string]any)[name].(map[string]any), value); err != nil {
			return err
		}
	}
	if anyOf, ok := schema["anyOf"].([]any); ok {
		var errs []error
		for _, s := range anyOf {
			err := v.check(s.(map[string]any), value)
			if err == nil {
				errs = nil
				break
			}
			errs = append(errs, err)
		}
		if errs != nil {
			return fmt.Errorf("none fits: %v", errs)
		}
	}
	if want, ok := schema["const"]; ok && !reflect.DeepEqual(want, value) {
		return fmt.Errorf("%v is not %v", value, want)
	}
	if want, ok := schema["type"]; ok && want != typeOf(value) && (want != "number" || typeOf(value) != "integer") {
		return fmt.Errorf("%v is of type %s, want %v", value, typeOf(value), want)
	}
	switch value := value.(type) {
	case string:
		if pattern, ok := schema["pattern"].(string); ok && !regexp.MustCompile(pattern).MatchString(value) {
			return fmt.Errorf("%q does not match %s", value, pattern)
		}
	case float64:
		if least, ok := schema["minimum"].(float64); ok && value < least {
			return fmt.Errorf("%v is less than %v", value, least)
		}
		if most, ok := schema["maximum"].(float64); ok && value > most {
			return fmt.Errorf("%v is more than %v", value, most)
		}
	case []any:
		items, _ := schema["items"].(map[string]any)
		for _, item := range value {
			if err := v.check(items, item); err != nil {
				return err
			}
		}
	case map[string]any:
		return v.object(schema, value)
	}
	return nil
}

func (v *validator) object(schema, value map[string]any) error {
	required, _ := schema["required"].([]any)
	for _, name := range required {
		if _, ok := value[name.(string)]; !ok {
			return fmt.Errorf("%v is missing in %v", name, value)
		}
	}
	properties, _ := schema["properties"].(map[string]any)
	more, open := schema["additionalProperties"].(map[string]any)
	for name, member := range value {
		s, known := properties[name].(map[string]any)
		switch {
		case known:
		case open:
			s = more
		case properties != nil:
			return fmt.Errorf("the schema has no member %q", name)
		}
		if err := v.check(s, member); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func typeOf(value any) string {
	switch value := value.(type) {
	case string:
		return "string"
	case bool:
		return "boolean"
	case float64:
		if value == math.Trunc(value) {
			return "integer"
		}
		return "number"
	case []any:
		return "array"
	case map[string]any:
		return "object"
	}
	return "null"
}

func TestJSONIsAsItsSchemaDescribes(t *testing.T) {
	text, err := os.ReadFile("../../../docs/query.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	v := new(validator)
	if err := json.Unmarshal(text, &v.root); err != nil {
		t.Fatal(err)
	}
	kinds := make(map[string]bool)
	for name, log := range map[string][]byte{
		"what libraries report":      encode(append(workload(t, "gnutls-tls13-p256", 1), workload(t, "openssl-tls12", 1)...)),
		"what anybody may write":     oddities(),
		"what the log does not hold": gaps(),
		"a lost library":             event.AppendLibraryUnrecorded(nil, event.LibraryAdded, "l", nil, 1, 2),
	} {
		for _, options := range [][]string{nil, {"--names"}} {
			got := crauctl(t, append([]string{"query", "--file", write(t, "log", log), "-o", "json"}, options...)...)
			for line := range strings.Lines(got.stdout) {
				var value map[string]any
				if err := json.Unmarshal([]byte(line), &value); err != nil {
					t.Fatal(err)
				}
				kind, _ := value["notice"].(string)
				kinds[kind] = true
				if err := v.check(v.root, value); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
	}
	for _, kind := range []string{"", "loss", "unrecorded", "removal", "missing"} {
		if !kinds[kind] {
			t.Errorf("no %q was checked", kind)
		}
	}
	// The schema refuses what is none of these.
	for _, wrong := range []string{`{}`, `{"notice":"loss"}`, `{"context":"x"}`, `[]`, `5`} {
		var value any
		if err := json.Unmarshal([]byte(wrong), &value); err != nil {
			t.Fatal(err)
		}
		if v.check(v.root, value) == nil {
			t.Errorf("%s is accepted", wrong)
		}
	}
}
