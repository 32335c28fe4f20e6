// SPDX-License-Identifier: Apache-2.0

package mistake

import "strings"

// Nearest returns the name with the smallest edit distance to text, "" if the distance is
// large.
func Nearest(text string, names []string) string {
	const maxText = 64
	if len(text) > maxText {
		return ""
	}
	text = strings.ToLower(text)
	best, bestEdits := "", len(text)/3+1
	for _, name := range names {
		if edits := distance(text, strings.ToLower(name)); edits < bestEdits {
			best, bestEdits = name, edits
		}
	}
	return best
}

// distance returns the Levenshtein distance of two texts in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
