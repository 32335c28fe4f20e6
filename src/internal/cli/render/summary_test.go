// SPDX-License-Identifier: Apache-2.0

package render_test

import (
	"fmt"
	"strings"
	"testing"

	"crypto-auditing/src/internal/cli/render"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/schema"
)

func TestValuesAreCountedInBoundedMemory(t *testing.T) {
	var out, warnings strings.Builder
	p := render.Values([]string{"x::long"}, false).New(&out, render.Options{Registry: new(schema.Registry), Warnings: &warnings})
	const different = 300
	for n := range 2 * different {
		long := fmt.Sprint(n%different) + strings.Repeat("x", 1<<18)
		root := &schema.Span{Data: []schema.Datum{{Key: "x::long", Value: event.Value{Kind: event.String, Bytes: []byte(long)}}}}
		if err := p.Root(root, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	listed := strings.Count(out.String(), "\n")
	if listed == 0 || listed == different || out.Len() > 40<<20 {
		t.Errorf("%d values of %d listed in %d bytes", listed, different, out.Len())
	}
	if want := fmt.Sprintf("crauctl: %d occurrences of more than %d different values not listed\n", 2*(different-listed), listed); warnings.String() != want {
		t.Errorf("warned of %q, want %q", warnings.String(), want)
	}
	if counted := strings.Count(out.String(), "2 0x"); counted != 1 {
		t.Errorf("the first value was not counted twice: %q", out.String()[:100])
	}
}
