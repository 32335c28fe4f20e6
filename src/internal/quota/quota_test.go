// SPDX-License-Identifier: Apache-2.0

package quota

import "testing"

func TestOtherUsersAndMembersLeaveAReserve(t *testing.T) {
	q := New("slots", Limits{User: 2, Outsiders: 3, Others: 5})
	var held []Holder
	for n, step := range []struct {
		user  uint32
		rank  Rank
		limit string
		max   int
	}{
		{1, Outsider, "", 0}, {1, Outsider, "", 0}, {1, Outsider, "slots of a user", 2},
		{2, Outsider, "", 0}, {2, Outsider, "slots of users outside the group", 3},
		{3, Member, "", 0}, {3, Member, "", 0}, {4, Member, "slots in all", 5},
		{0, Trusted, "", 0}, {0, Trusted, "", 0}, {0, Trusted, "slots of a user", 2},
		{5, Trusted, "", 0},
	} {
		h := Holder{step.user, step.rank}
		full := q.Take(h)
		if (full != nil) != (step.limit != "") || full != nil && (full.Limit != step.limit || full.Max != step.max) {
			t.Fatalf("step %d: %v", n, full)
		}
		if full == nil {
			held = append(held, h)
		}
	}
	if full := q.TakeAny(Holder{0, Trusted}); full != nil {
		t.Errorf("without the limit of a user: %v", full)
	}
	held = append(held, Holder{0, Trusted})
	if q.Held() != len(held) {
		t.Errorf("%d are held, want %d", q.Held(), len(held))
	}
	for _, h := range held {
		q.Release(h)
	}
	if q.Held() != 0 || len(q.users) != 0 || q.others != 0 || q.outsiders != 0 {
		t.Errorf("after the last release: %+v", q)
	}
}
