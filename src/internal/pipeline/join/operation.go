// SPDX-License-Identifier: Apache-2.0

package join

import (
	"slices"
	"strings"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/wire"
)

// Operation is an operation that a source observed as a whole, rather than by hits.
type Operation struct {
	// Task is the kernel's PIDTGID. Contexts are numbered consecutively from Context;
	// other contexts of the task must not have the same numbers.
	Task, Context    uint64
	Start, End       uint64 // nanoseconds since boot
	Executable, Unit string
	// Source is the source's name, Origin the build-id of the library, if any.
	Source event.Source
	Origin []byte
	Root   wire.Context
	Values
}

// Values are the values of a handshake that a library and a socket may both know; zero
// is unknown.
type Values struct {
	Role           string // "client" or "server"
	Version, Suite int64
	groups         [maxGroups]int64
	count          int // of groups
}

// maxGroups is the highest number of groups of a handshake: a client generates a key
// pair for each group that it offers.
const maxGroups = 4

// AddGroup adds a group.
func (v *Values) AddGroup(group int64) {
	if v.count < len(v.groups) && group != 0 {
		v.groups[v.count] = group
		v.count++
	}
}

// Groups returns the groups that were added first. The caller must not change them.
func (v *Values) Groups() []int64 { return v.groups[:v.count] }

// agrees reports whether the values of a library, v, and of a socket, s, can be from the
// same handshake.
func (v *Values) agrees(s *Values) bool {
	if differ(v.Version, s.Version) || differ(v.Suite, s.Suite) {
		return false
	}
	for _, group := range v.Groups() {
		if s.count == 0 || group == s.groups[0] {
			return true
		}
	}
	return v.count == 0
}

// Differences returns the keys for which the values of a library, v, and of a socket, s,
// differ, separated by commas.
func (v *Values) Differences(s *Values) string {
	var keys []string
	if differ(v.Version, s.Version) {
		keys = append(keys, "tls::protocol_version")
	}
	if differ(v.Suite, s.Suite) {
		keys = append(keys, "tls::ciphersuite")
	}
	if s.count > 0 && v.count > 0 && !slices.Contains(v.Groups(), s.groups[0]) {
		keys = append(keys, "tls::group")
	}
	return strings.Join(keys, ",")
}

// same reports whether two handshakes would add the same values.
func (v *Values) same(o *Values) bool { return v.Version == o.Version && v.Suite == o.Suite }

func differ(a, b int64) bool { return a != 0 && b != 0 && a != b }
