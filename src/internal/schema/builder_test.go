// SPDX-License-Identifier: Apache-2.0

package schema_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/schema"
	"crypto-auditing/src/internal/schema/tracetest"
)

func registry(t testing.TB) *schema.Registry {
	t.Helper()
	r, err := schema.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// roots builds the trees of groups.
func roots(t testing.TB, groups []event.Group, options schema.Options) []*schema.Span {
	t.Helper()
	var out []*schema.Span
	b := schema.NewBuilder(registry(t), options, func(s *schema.Span) { out = append(out, s) })
	for i := range groups {
		b.Add(&groups[i], 0)
	}
	b.Close()
	return out
}

// sketch writes trees as text: a line for each span, its name and data.
func sketch(roots []*schema.Span) string {
	var b strings.Builder
	var write func(s *schema.Span, depth int)
	write = func(s *schema.Span, depth int) {
		b.WriteString(strings.Repeat("  ", depth))
		if s.Name == "" {
			b.WriteString("(no name)")
		}
		b.WriteString(s.Name)
		for _, d := range s.Data {
			switch {
			case d.Key == schema.KeyName:
			case d.Value.Kind == event.Word:
				fmt.Fprintf(&b, " %s=%d", d.Key, d.Value.Word)
			default:
				fmt.Fprintf(&b, " %s=%q", d.Key, d.Value.Bytes)
			}
		}
		if s.Headless {
			b.WriteString(" (headless)")
		}
		if s.Cut {
			b.WriteString(" (cut)")
		}
		b.WriteByte('\n')
		for _, inner := range s.Spans {
			write(inner, depth+1)
		}
	}
	for _, s := range roots {
		write(s, 0)
	}
	return b.String()
}

// golden compares got with a file of testdata, or writes it with
// UPDATE_GOLDEN=1.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if os.Getenv("UPDATE_GOLDEN") == "1" {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("trees differ from %s; got:\n%s\nwant:\n%s", file, got, want)
	}
}

func TestRecordedHandshakesBecomeTheirTrees(t *testing.T) {
	for _, name := range tracetest.Names() {
		t.Run(name, func(t *testing.T) {
			hits, err := tracetest.Hits(name)
			if err != nil {
				t.Fatal(err)
			}
			got := sketch(roots(t, hits, schema.Options{Ordered: true}))
			golden(t, name+".tree", got)
			if split := sketch(roots(t, tracetest.Split(hits), schema.Options{Ordered: true})); split != got {
				t.Errorf("one event per group makes other trees:\n%s\nwant:\n%s", split, got)
			}
			if merged := sketch(roots(t, tracetest.Merge(hits), schema.Options{Ordered: true})); merged != got {
				t.Errorf("merged groups make other trees:\n%s\nwant:\n%s", merged, got)
			}
		})
	}
}
