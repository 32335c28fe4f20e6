// SPDX-License-Identifier: Apache-2.0

package emulation

import "testing"

func TestShadowStacksAreAFlagOfTheProcessor(t *testing.T) {
	for text, want := range map[string]bool{
		"processor\t: 0\nflags\t\t: fpu vme user_shstk sse\n\nprocessor\t: 1\n": true,
		"processor\t: 0\nflags\t\t: fpu vme shstk no_user_shstk\n":              false,
		"model name\t: user_shstk\nflags\t\t: fpu\n":                            false,
		"": false,
	} {
		if got := shadowStacks([]byte(text)); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}
