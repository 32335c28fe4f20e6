// SPDX-License-Identifier: Apache-2.0

package emulation

import (
	"strings"
	"testing"
)

func TestShadowStacksAreAFlagOfTheProcessor(t *testing.T) {
	for text, want := range map[string]bool{
		"processor\t: 0\nflags\t\t: fpu vme user_shstk sse\n\nprocessor\t: 1\n": true,
		"processor\t: 0\nflags\t\t: fpu vme shstk no_user_shstk\n":              false,
		"model name\t: user_shstk\nflags\t\t: fpu\n":                            false,
		"": false,
	} {
		if got := hasFlag([]byte(text), "flags", "user_shstk"); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
	const arm64 = "processor\t: 0\nBogoMIPS\t: 125.00\nFeatures\t: fp asimd paca pacg bti%s\nCPU implementer\t: 0x00\n"
	for flag, want := range map[string]bool{" gcs": true, "": false, " gcs2": false} {
		if got := hasFlag([]byte(strings.ReplaceAll(arm64, "%s", flag)), "Features", "gcs"); got != want {
			t.Errorf("with the flag %q: %v", flag, got)
		}
	}
}

func TestReleasesOfLinuxAreCompared(t *testing.T) {
	for release, want := range map[string]bool{
		"6.12.48+deb13-arm64": false, "6.17.9": false, "6.18.0-rc1": true, "6.18": true, "7.0.1": true, "unknown": false, "": false,
	} {
		if got := isSince618(release); got != want {
			t.Errorf("%q: %v", release, got)
		}
	}
}
