// SPDX-License-Identifier: Apache-2.0

//go:build vm

package guest

import "testing"

func TestAKilledAgentIsRestartedAndTheLogContinues(t *testing.T) {
	running(t)
	start := flush(t)
	fireTrace(t, 10)
	// A killed agent loses what it has not written.
	flush(t)
	process := property(t, agentService, "MainPID")
	run(t, "systemctl", "kill", "--signal=KILL", "--kill-who=main", agentService)
	waitFor(t, "a restart of the agent", func() bool {
		return property(t, agentService, "MainPID") != process && active(t, agentService)
	})
	fired := fireTrace(t, 10)
	if s := readStatus(t); s.Hits != fired || lost(s.Lost) != 0 {
		t.Errorf("recorded %d of %d hits after the restart, the losses are %+v", s.Hits, fired, s.Lost)
	}
	if n := handshakesAfter(t, start); n != 20 {
		t.Errorf("the log shows %d of 20 handshakes", n)
	}
	run(t, "crauctl", "verify", "--directory", logDir)
}

func TestACleanStopWritesAllProbedEvents(t *testing.T) {
	// The window is longer than the rest of the test.
	a := running(t)
	before, start := readStatus(t), flush(t)
	reload(t, both()+"coalesce_window = \"1m\"\n")
	bus(t, "GetStatus")
	fired := fireTrace(t, 20)
	// The broker would start the agent again.
	run(t, "systemctl", "stop", brokerService)
	if recorded, lost := a.stop(t); recorded-before.Hits != fired || lost != 0 {
		t.Errorf("recorded %d of %d hits, lost %d", recorded-before.Hits, fired, lost)
	}
	if n := handshakesAfter(t, start); n != 20 {
		t.Errorf("the log shows %d of 20 handshakes", n)
	}
	for _, unit := range []string{agentService, brokerService} {
		if state, result := property(t, unit, "ActiveState"), property(t, unit, "Result"); state != "inactive" || result != "success" {
			t.Errorf("%s is %s with result %s", unit, state, result)
		}
	}
	for _, unit := range []string{agentSocket, brokerSocket} {
		if !active(t, unit) {
			t.Errorf("%s does not listen any more", unit)
		}
	}
}
