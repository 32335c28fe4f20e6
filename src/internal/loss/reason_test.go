// SPDX-License-Identifier: Apache-2.0

package loss

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// rows returns the rows of the table with the given header, by the names in their first
// column.
func rows(t *testing.T, document, header string) map[Reason][]string {
	t.Helper()
	text, err := os.ReadFile("../../../docs/" + document)
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(text), header)
	if !found {
		t.Fatalf("%s has no table %s", document, header)
	}
	table, _, _ = strings.Cut(table, "\n\n")
	all := map[Reason][]string{}
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|")
		if len(cells) < 4 {
			continue
		}
		for _, name := range regexp.MustCompile("`([a-z-]+)`").FindAllStringSubmatch(cells[1], -1) {
			all[Reason(name[1])] = cells[2:]
		}
	}
	return all
}

func TestTheDocumentsListAllReasonsForLosses(t *testing.T) {
	want := slices.Sorted(maps.Keys(places()))
	for document, header := range map[string]string{
		"architecture.md": "| reason | place | what happened |", "admin-guide.md": "| reason | what happened | what to do |",
	} {
		if got := slices.Sorted(maps.Keys(rows(t, document, header))); !slices.Equal(got, want) {
			t.Errorf("%s lists %q, want %q", document, got, want)
		}
	}
	for reason, cells := range rows(t, "architecture.md", "| reason | place | what happened |") {
		if place := strings.TrimSpace(cells[0]); place != reason.Place() {
			t.Errorf("in architecture.md, the place of losses is %s for %s, want %s", place, reason, reason.Place())
		}
	}
}
