// SPDX-License-Identifier: Apache-2.0

// Package spelling has the different spellings of the same name: libraries use SHA1, SHA-1
// or sha1, for example.
package spelling

import (
	"slices"
	"strings"
)

// Table has the spellings of several names. It may be used concurrently after the last
// call of Add.
type Table struct {
	// byFolded maps the folded form of each spelling to its name, spellings a name to
	// its spellings, itself first.
	byFolded  map[string]string
	spellings map[string][]string
}

// New returns an empty table.
func New() *Table { return &Table{map[string]string{}, map[string][]string{}} }

// Fold returns the form of a name for comparison: lower case, without spaces, hyphens,
// underscores and slashes.
func Fold(name string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(" -_/", r) {
			return -1
		}
		return r
	}, strings.ToLower(name))
}

// Add adds spellings of a name, each also in lower and in upper case. If one of them
// belongs to another name, it returns the spelling and that name, and adds nothing.
func (t *Table) Add(name string, spellings ...string) (conflict, other string) {
	all := append([]string{name}, spellings...)
	for _, s := range all {
		if known, ok := t.byFolded[Fold(s)]; ok && known != name {
			return s, known
		}
	}
	list := t.spellings[name]
	for _, s := range all {
		t.byFolded[Fold(s)] = name
		for _, form := range []string{s, strings.ToLower(s), strings.ToUpper(s)} {
			if !slices.Contains(list, form) {
				list = append(list, form)
			}
		}
	}
	t.spellings[name] = list
	return "", ""
}

// Lookup returns the spellings of the name that text is a spelling of, ignoring case, spaces,
// hyphens, underscores and slashes; nil if it is not in the table.
func (t *Table) Lookup(text string) []string {
	if t == nil {
		return nil
	}
	return t.spellings[t.byFolded[Fold(text)]]
}

// Names returns the names, sorted.
func (t *Table) Names() []string {
	if t == nil {
		return nil
	}
	names := make([]string, 0, len(t.spellings))
	for name := range t.spellings {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
