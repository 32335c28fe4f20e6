// SPDX-License-Identifier: Apache-2.0

package cryptopolicy

import "strings"

// glob returns the names that match a pattern of fnmatch(3) without escapes: * is any text, ? any
// character, [abc], [a-c] and [!abc] a character of a set.
func glob(pattern string, names []string) []string {
	var matching []string
	for _, name := range names {
		if matches(pattern, name) {
			matching = append(matching, name)
		}
	}
	return matching
}

// matches takes time proportional to the product of the lengths: it only backtracks to the last of
// several stars.
func matches(pattern, name string) bool {
	retry, from := -1, 0 // the pattern after the last star, and the first text where it was not tried
	p, n := 0, 0
	for n < len(name) {
		if p < len(pattern) && pattern[p] == '*' {
			p++
			retry, from = p, n+1
			continue
		}
		if length, ok := matchesOne(pattern[p:], name[n]); ok {
			p += length
			n++
			continue
		}
		if retry < 0 {
			return false
		}
		p, n = retry, from
		from++
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// matchesOne reports whether the first element of a pattern, which is not a star, matches a character,
// and returns the length of the element.
func matchesOne(pattern string, c byte) (length int, ok bool) {
	if pattern == "" {
		return 0, false
	}
	switch pattern[0] {
	case '?':
		return 1, true
	case '[':
		if set, length := cutSet(pattern); length > 0 {
			return length, set.has(c)
		}
	}
	return 1, pattern[0] == c
}

type set struct {
	members string
	negated bool
}

// cutSet returns the set at the beginning of a pattern and its length, 0 if it has no end.
func cutSet(pattern string) (set, int) {
	begin := 1
	negated := strings.HasPrefix(pattern[begin:], "!")
	if negated {
		begin++
	}
	end := begin
	if strings.HasPrefix(pattern[end:], "]") { // a member
		end++
	}
	length := strings.IndexByte(pattern[end:], ']')
	if length < 0 {
		return set{}, 0
	}
	return set{pattern[begin : end+length], negated}, end + length + 1
}

func (s set) has(c byte) bool {
	found := false
	for i := 0; i < len(s.members); i++ {
		if i+2 < len(s.members) && s.members[i+1] == '-' {
			found = found || s.members[i] <= c && c <= s.members[i+2]
			i += 2
			continue
		}
		found = found || s.members[i] == c
	}
	return found != s.negated
}
