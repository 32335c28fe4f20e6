// SPDX-License-Identifier: Apache-2.0

package exclude

import (
	"strings"
	"testing"
)

func judgeBy(t *testing.T, rules ...string) *Judge {
	t.Helper()
	parsed, err := Parse(rules)
	if err != nil {
		t.Fatal(err)
	}
	set := &Set{}
	set.Replace(parsed)
	return NewJudge(set, func(unit string) string { return strings.ReplaceAll(unit, "@1000", "@") })
}

func TestAProcessThatBecomesAnotherProgramIsJudgedAgain(t *testing.T) {
	type owner struct {
		process, user uint32
		unit          string
	}
	j := judgeBy(t, "executable=shell", "unit=backup-*", "user=7", "unit=user@.service")
	for i, step := range []struct {
		owner *owner
		// executable is "" for a hit without an executable.
		executable string
		want       bool
	}{
		{nil, "", false}, // an unknown process
		{nil, "shell", true},
		{nil, "", true},
		{nil, "curl", false},
		{nil, "", false},
		{&owner{5, 0, "backup-1.service"}, "curl", true},
		{nil, "", true},
		{&owner{5, 8, ""}, "curl", false},
		{&owner{5, 7, ""}, "curl", true},
		{&owner{6, 8, ""}, "", true},
		{&owner{5, 8, "user@1000.service"}, "curl", true},
	} {
		if o := step.owner; o != nil {
			j.Owner(o.process, o.user, []byte(o.unit))
		}
		if got := j.Hit(5, step.executable != "", []byte(step.executable)); got != step.want {
			t.Errorf("step %d: excluded %v, want %v", i, got, step.want)
		}
	}
	if n := j.set.Hits(); n != 7 {
		t.Errorf("%d hits are counted, want 7", n)
	}
	j.set.Replace(nil)
	if j.Hit(5, true, []byte("shell")) || j.Hit(5, false, nil) {
		t.Error("a process is excluded after its rule was removed")
	}
}

func TestMemoryOfTheJudgeIsBounded(t *testing.T) {
	j := judgeBy(t, "user=7")
	for i := range uint32(5 * maxVerdicts) {
		j.Owner(i, 7, nil)
		if !j.Hit(i, true, []byte("x")) {
			t.Fatalf("process %d is recorded", i)
		}
	}
	if n := len(j.young) + len(j.old); n > 2*maxVerdicts {
		t.Errorf("%d processes are remembered", n)
	}
}
