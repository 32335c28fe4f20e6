// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"testing"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/exclude"
	"crypto-auditing/src/internal/probe"
)

func excluderOf(t *testing.T, rules ...string) *excluder {
	t.Helper()
	parsed, err := exclude.Parse(rules)
	if err != nil {
		t.Fatal(err)
	}
	set := &exclude.Set{}
	set.Replace(parsed)
	return newExcluder(set)
}

func TestAProcessThatBecomesAnotherProgramIsJudgedAgain(t *testing.T) {
	e := excluderOf(t, "executable=shell", "unit=backup-*", "user=7")
	task := uint64(5) << 32
	opened := func(executable string) *probe.Record {
		r := opens(1, 1, event.NoParent)
		r.PIDTGID, r.Executable = task, []byte(executable)
		return r
	}
	data := says(2, 1, number("a", 1))
	data.PIDTGID = task | 3 // another thread
	for i, step := range []struct {
		owner  *probe.Owner
		record *probe.Record
		want   bool
	}{
		{nil, data, false}, // nothing is known of it
		{nil, opened("shell"), true},
		{nil, data, true},
		{nil, opened("curl"), false},
		{nil, data, false},
		{&probe.Owner{Process: 5, Unit: []byte("backup-1.service")}, opened("curl"), true},
		{nil, data, true},
		{&probe.Owner{Process: 5, User: 8}, opened("curl"), false},
		{&probe.Owner{Process: 5, User: 7}, opened("curl"), true},
		{&probe.Owner{Process: 6, User: 8}, data, true},
	} {
		if step.owner != nil {
			e.owner(step.owner)
		}
		if got := e.hit(step.record); got != step.want {
			t.Errorf("step %d: excluded %v, want %v", i, got, step.want)
		}
	}
	if n := e.set.Hits(); n != 6 {
		t.Errorf("%d hits are counted, want 6", n)
	}
	e.set.Replace(nil)
	if e.hit(opened("shell")) || e.hit(data) {
		t.Error("what is excluded by no rule any more is left out")
	}
}

func TestWhatTheExcluderRemembersIsBounded(t *testing.T) {
	e := excluderOf(t, "user=7")
	for i := range uint32(5 * maxVerdicts) {
		e.owner(&probe.Owner{Process: i, User: 7})
		r := opens(1, 1, event.NoParent)
		r.PIDTGID = uint64(i) << 32
		if !e.hit(r) {
			t.Fatalf("process %d is recorded", i)
		}
	}
	if n := len(e.young) + len(e.old); n > 2*maxVerdicts {
		t.Errorf("%d processes are remembered", n)
	}
}
