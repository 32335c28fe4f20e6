// SPDX-License-Identifier: Apache-2.0

package unitname

import "testing"

func TestNamesOfUnitsHaveNoIDsOfUsersAndProcesses(t *testing.T) {
	units := New()
	for name, want := range map[string]string{
		"nginx.service":                    "nginx.service",
		"user@1000.service":                "user@.service",
		"user-runtime-dir@1000.service":    "user-runtime-dir@.service",
		"app-gnome-firefox-4711.scope":     "app-gnome-firefox.scope",
		"app-flatpak-org.x.y-1.scope":      "app-flatpak-org.x.y.scope",
		"run-p1234-i5678.scope":            "run-.scope",
		"session-3.scope":                  "session-3.scope",
		"postgresql@15-main.service":       "postgresql@15-main.service",
		"docker-0123456789abcdef.scope":    "docker-0123456789abcdef.scope",
		"app-2048.service":                 "app-2048.service",
		"":                                 "",
		"openvpn-client@user@1000.service": "openvpn-client@user@1000.service",
	} {
		if got := units.Without(name); got != want || units.Without(name) != want {
			t.Errorf("%q becomes %q, want %q", name, got, want)
		}
	}
}
