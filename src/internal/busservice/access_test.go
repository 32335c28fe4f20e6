// SPDX-License-Identifier: Apache-2.0

package busservice

import "testing"

func TestGroupReadsAndBrokerTruncatesWithoutPolkit(t *testing.T) {
	group := uint32(100)
	a := &access{group: &group, self: 200}
	callers := map[string]caller{
		"root":               {user: 0},
		"member":             {user: 300, groups: []uint32{7, group}},
		"broker":             {user: 200, groups: []uint32{200}},
		"broker in group":    {user: 200, groups: []uint32{200, group}},
		"stranger":           {user: 300, groups: []uint32{300}},
		"the group's number": {user: group, groups: []uint32{300}},
	}
	allowed := map[string]map[string]bool{
		actionRead:      {"root": true, "member": true, "broker in group": true},
		actionSubscribe: {"root": true, "member": true, "broker in group": true},
		actionTruncate:  {"root": true, "broker": true, "broker in group": true},
	}
	for action, want := range allowed {
		for name, who := range callers {
			if got := a.allowed(who, action); got != want[name] {
				t.Errorf("%s by %s: allowed %v, want %v", action, name, got, want[name])
			}
		}
	}
	if without := (&access{self: 200}); without.allowed(caller{user: 300, groups: []uint32{0}}, actionRead) {
		t.Error("on a machine without the group a stranger may read")
	}
}
