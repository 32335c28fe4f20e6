// SPDX-License-Identifier: Apache-2.0

package access

import "testing"

func TestGroupReadsAndBrokerTruncatesWithoutPolkit(t *testing.T) {
	group := uint32(100)
	a := New(nil, &group, 200)
	callers := map[string]Caller{
		"root":               {User: 0},
		"member":             {User: 300, Groups: []uint32{7, group}},
		"broker":             {User: 200, Groups: []uint32{200}},
		"broker in group":    {User: 200, Groups: []uint32{200, group}},
		"stranger":           {User: 300, Groups: []uint32{300}},
		"the group's number": {User: group, Groups: []uint32{300}},
	}
	allowed := map[string]map[string]bool{
		Read:      {"root": true, "member": true, "broker in group": true},
		Subscribe: {"root": true, "member": true, "broker in group": true},
		Truncate:  {"root": true, "broker": true, "broker in group": true},
	}
	for action, want := range allowed {
		for name, caller := range callers {
			if got := a.allowed(caller, action); got != want[name] {
				t.Errorf("%s by %s: allowed %v, want %v", action, name, got, want[name])
			}
		}
	}
	if without := New(nil, nil, 200); without.allowed(Caller{User: 300, Groups: []uint32{0}}, Read) {
		t.Error("a user outside the group may read on a machine without the group")
	}
}
