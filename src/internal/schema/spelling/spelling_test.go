// SPDX-License-Identifier: Apache-2.0

package spelling

import (
	"slices"
	"testing"
)

func TestEachSpellingFindsAllSpellingsOfItsName(t *testing.T) {
	table := New()
	if s, other := table.Add("SHA1", "SHA-1"); s != "" {
		t.Fatal(s, other)
	}
	if s, other := table.Add("SHA512-256", "SHA-512/256"); s != "" {
		t.Fatal(s, other)
	}
	want := []string{"SHA1", "sha1", "SHA-1", "sha-1"}
	for _, text := range []string{"SHA1", "sha1", "Sha 1", "sha-1", "SHA_1"} {
		if got := table.Lookup(text); !slices.Equal(got, want) {
			t.Errorf("%q has the spellings %q, want %q", text, got, want)
		}
	}
	if got := table.Lookup("SHA512/256"); !slices.Contains(got, "SHA512-256") {
		t.Errorf("SHA512/256 has the spellings %q", got)
	}
	for _, text := range []string{"", "SHA", "SHA11"} {
		if got := table.Lookup(text); got != nil {
			t.Errorf("%q has the spellings %q", text, got)
		}
	}
	if got := table.Names(); !slices.Equal(got, []string{"SHA1", "SHA512-256"}) {
		t.Errorf("the names are %q", got)
	}
}

func TestASpellingHasOneName(t *testing.T) {
	table := New()
	table.Add("SHA256", "SHA-256")
	if s, other := table.Add("SHA2-256", "sha-256"); s != "sha-256" || other != "SHA256" {
		t.Errorf("the conflict is %q of %q", s, other)
	}
	if got := table.Lookup("SHA2-256"); got != nil {
		t.Errorf("the refused name has the spellings %q", got)
	}
	if s, _ := table.Add("SHA256", "SHA2-256"); s != "" || !slices.Contains(table.Lookup("sha256"), "SHA2-256") {
		t.Errorf("a later spelling is not added: %q", table.Lookup("sha256"))
	}
}

func TestNamesHaveNoSpellingsWithoutATable(t *testing.T) {
	var none *Table
	if none.Lookup("x") != nil || none.Names() != nil {
		t.Error("a nil table has spellings")
	}
}
