// SPDX-License-Identifier: Apache-2.0

package cryptopolicy

import (
	"strings"
	"testing"
)

func TestGlobsMatchLikePython(t *testing.T) {
	for pattern, c := range map[string]struct{ yes, no string }{
		"":          {"", "a"},
		"*":         {" a abc", ""},
		"a*":        {"a abc", "ba"},
		"*a":        {"a ba aa", "ab"},
		"*a*b*":     {"ab xaxbx aab", "ba a b"},
		"a?c":       {"abc a?c", "ac abbc"},
		"[ab]c":     {"ac bc", "cc [ab]c abc"},
		"[!ab]c":    {"cc", "ac bc c"},
		"[a-c]":     {"a b c", "d -"},
		"[a-]":      {"a -", "b"},
		"[]a]":      {"] a", "b"},
		"[!]a]":     {"b", "] a"},
		"[a":        {"[a", "a"},
		"*-CBC":     {"AES-128-CBC -CBC", "AES-128-CBC- aes-128-cbc"},
		"**a**":     {"a aa bab", "b"},
		"a.c":       {"a.c", "abc"},
		"*x*x*x*x*": {"xxxx axbxcxdx", strings.Repeat("x", 3) + " " + strings.Repeat("y", 200)},
	} {
		for _, name := range strings.Split(c.yes, " ") {
			if !matches(pattern, name) {
				t.Errorf("%q does not match %q", pattern, name)
			}
		}
		for _, name := range strings.Fields(c.no) {
			if matches(pattern, name) {
				t.Errorf("%q matches %q", pattern, name)
			}
		}
	}
}
