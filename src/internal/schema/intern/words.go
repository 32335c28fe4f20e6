// SPDX-License-Identifier: Apache-2.0

// Package intern shares equal strings.
package intern

// maxWords limits the number of words in the table.
const maxWords = 4096

// MaxWord is the length of the longest word that is shared, in bytes.
const MaxWord = 1024

// Words has words that repeat. The zero value is empty. It must be used by one goroutine only.
type Words struct{ table map[string]string }

// Intern returns w as a string that is shared by equal words.
func (t *Words) Intern(w []byte) string {
	if len(w) == 0 {
		return ""
	}
	if s, ok := t.table[string(w)]; ok {
		return s
	}
	if len(w) > MaxWord {
		return string(w)
	}
	if t.table == nil || len(t.table) >= maxWords {
		t.table = make(map[string]string)
	}
	s := string(w)
	t.table[s] = s
	return s
}
