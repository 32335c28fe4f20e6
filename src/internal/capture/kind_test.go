// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"strings"
	"testing"
)

func TestKindsAreFoundByNameAndHaveTheirParameters(t *testing.T) {
	for name, want := range map[string]string{
		"new_context":           "context parent",
		"word_data":             "context key value",
		"string_data":           "context key value",
		"blob_data":             "context key value size",
		"data":                  "context array count",
		"new_context_with_data": "context parent array count",
	} {
		k, ok := KindOf(name)
		if !ok || k.String() != name {
			t.Fatalf("%s is the kind %d with the name %q (%v)", name, k, k, ok)
		}
		if got := strings.Join(k.Parameters(), " "); got != want {
			t.Errorf("%s has the parameters %s, want %s", name, got, want)
		}
		if len(k.Parameters()) > MaxArguments {
			t.Errorf("%s has %d parameters", name, len(k.Parameters()))
		}
	}
	for _, name := range []string{"", "other", "NEW_CONTEXT"} {
		if k, ok := KindOf(name); ok {
			t.Errorf("%q is accepted as the kind %s", name, k)
		}
	}
	if name := (NewContextWithData + 1).String(); name != "" {
		t.Errorf("an invalid kind has the name %s", name)
	}
}
