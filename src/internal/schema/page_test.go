// SPDX-License-Identifier: Apache-2.0

package schema_test

import (
	"os"
	"strings"
	"testing"

	"crypto-auditing/src/internal/schema"
)

// registered returns the section of crypto-auditing-registry(5) that lists the built-in
// registry.
func registered(t *testing.T) string {
	t.Helper()
	r, err := schema.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	var page strings.Builder
	page.WriteString(".Ss Contexts\n.Bl -tag -width Ds\n")
	for _, name := range r.Contexts() {
		c := r.Context(name)
		page.WriteString(".It Li " + name + "\n" + sentence(c.Description))
		var keys []string
		for _, key := range r.Keys() {
			if c.Has(key) {
				keys = append(keys, ".Li "+key)
			}
		}
		if keys != nil {
			page.WriteString("Keys:\n" + strings.Join(keys, " ,\n") + " .\n")
		}
	}
	page.WriteString(".El\n.Ss Keys\n.Bl -tag -width Ds\n")
	for _, name := range r.Keys() {
		k := r.Key(name)
		page.WriteString(".It Li " + name + " Pq " + k.Type)
		if k.HasNames() {
			page.WriteString(" , names")
		}
		page.WriteString("\n" + sentence(k.Description))
	}
	page.WriteString(".El\n")
	return page.String()
}

func sentence(description string) string {
	return strings.ToUpper(description[:1]) + description[1:] + ".\n"
}

// UPDATE_GOLDEN=1 rewrites the section.
func TestTheManualPageListsTheWholeRegistry(t *testing.T) {
	const file = "../../../docs/man/crypto-auditing-registry.5.in"
	const begin, end = ".Sh BUILT IN\n", ".Sh EXAMPLES\n"
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(page), begin)
	text, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no section between %q and %q", file, begin, end)
	}
	intro, list, _ := strings.Cut(text, ".Ss Contexts\n")
	want := registered(t)
	if ".Ss Contexts\n"+list == want {
		return
	}
	if os.Getenv("UPDATE_GOLDEN") == "" {
		t.Fatalf("%s differs from the registry: run UPDATE_GOLDEN=1 go test ./src/internal/schema", file)
	}
	if err := os.WriteFile(file, []byte(head+begin+intro+want+end+tail), 0o644); err != nil {
		t.Fatal(err)
	}
}
