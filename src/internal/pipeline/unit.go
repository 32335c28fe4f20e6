// SPDX-License-Identifier: Apache-2.0

package pipeline

import "regexp"

// unitNames makes names of units without the ids of users and processes, of which
// the log has none. It belongs to one goroutine.
type unitNames struct {
	id    *regexp.Regexp
	known map[string]string
}

// maxUnits bounds the names that are remembered.
const maxUnits = 1024

func newUnitNames() *unitNames {
	return &unitNames{
		// The names that the service manager and desktops make up: user@1000.service,
		// app-gnome-foo-1234.scope, run-p1234-i5678.scope (systemd.special(7), and
		// "Desktop Environment Integration" of systemd).
		id: regexp.MustCompile(`^((?:user|user-runtime-dir)@)[0-9]+(\.service)$` +
			`|^((?:app|apps|dbus|gnome)-.*)-[0-9]+(\.scope|\.service)$|^(run-)p[0-9]+-i[0-9]+(\.scope|\.service)$`),
		known: map[string]string{},
	}
}

// without returns the name of a unit without ids.
func (u *unitNames) without(name string) string {
	short, ok := u.known[name]
	if !ok {
		if len(u.known) >= maxUnits {
			clear(u.known)
		}
		short = u.id.ReplaceAllString(name, "$1$2$3$4$5$6")
		u.known[name] = short
	}
	return short
}
