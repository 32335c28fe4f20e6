// SPDX-License-Identifier: Apache-2.0

package systemd

import (
	"strings"
	"testing"
)

// perHandshake is the number of times that crauctl prints the name for a replayed
// handshake.
const perHandshake = 4

// shown returns the number of handshakes in the log.
func (a *agent) shown(t *testing.T) int {
	t.Helper()
	output, _ := a.try(t, "crauctl", "query", "--directory", logDir)
	return strings.Count(output, "tls::handshake") / perHandshake
}

func TestKilledAgentIsRestartedAndSequencesContinue(t *testing.T) {
	a := recording(t, libraries(library))
	a.replay(t, library, 10)
	// A killed agent loses what it has not written.
	waitFor(t, "the first handshakes in the log", func() bool { return a.shown(t) == 10 })
	process := a.pid(t)
	a.run(t, "kill", "-KILL", process)
	waitFor(t, "a restart of the agent", func() bool { return a.pid(t) != process && a.active(t) })
	if n := a.restarts(t); n != "1" {
		t.Errorf("the agent was restarted %s times", n)
	}
	fired := a.replay(t, library, 10)
	// The killed agent logged no totals.
	if recorded, lost := a.stop(t); recorded != fired || lost != 0 {
		t.Errorf("recorded %d of %d hits after the restart, lost %d", recorded, fired, lost)
	}
	if n := a.shown(t); n != 20 {
		t.Errorf("the log shows %d handshakes of 20", n)
	}
	a.run(t, "crauctl", "verify", "--directory", logDir)
	segments := a.segments(t)
	if len(segments) != 2 || segments[0] != "audit-0000000000000001.cborseq.zst" || segments[1] <= segments[0] {
		t.Errorf("the log has the segments %v", segments)
	}
}

func TestWatchdogRestartsAnAgentThatIsStuck(t *testing.T) {
	a := recording(t, libraries(library), "[Service]\nWatchdogSec=3s\n")
	process := a.pid(t)
	a.run(t, "kill", "-STOP", process)
	waitFor(t, "a restart of the agent", func() bool { return a.pid(t) != process && a.active(t) })
	if !a.journalHas(t, "Watchdog timeout") {
		t.Error("the journal has no timeout of the watchdog")
	}
	fired := a.replay(t, library, 5)
	if recorded, lost := a.stop(t); recorded != fired || lost != 0 {
		t.Errorf("recorded %d of %d hits, lost %d", recorded, fired, lost)
	}
}

func TestWatchdogDoesNotFireForAWorkingAgent(t *testing.T) {
	// No probe fires meanwhile: an idle pipeline responds when it is asked.
	a := recording(t, libraries(library), "[Service]\nWatchdogSec=3s\n")
	beats := map[string]bool{}
	waitFor(t, "two notifications of the watchdog", func() bool {
		beats[a.property(t, service, "WatchdogTimestampMonotonic")] = true
		return len(beats) > 2
	})
	if n := a.restarts(t); n != "0" {
		t.Errorf("the agent was restarted %s times", n)
	}
}

func TestBadConfigurationIsNotRetried(t *testing.T) {
	a := installed(t, "library = []\nlibrarry = []\n")
	a.run(t, "systemctl", "start", "--no-block", service)
	waitFor(t, "a failed start", func() bool { return a.property(t, service, "ActiveState") == "failed" })
	if status := a.property(t, service, "ExecMainStatus"); status != "78" {
		t.Errorf("the exit status is %s", status)
	}
	if n := a.restarts(t); n != "0" {
		t.Errorf("the agent was restarted %s times", n)
	}
	if !a.journalHas(t, "/etc/crypto-auditing/agent.conf:2:", `"librarry"`) {
		t.Errorf("the journal does not have the error:\n%s", strings.Join(a.journal(t), "\n"))
	}
}

func TestMissingCapabilitiesOnAnOldKernelAreReportedWithTheRemedy(t *testing.T) {
	const profile = "[Service]\nExecStart=\nExecStart=/usr/bin/crau-agent --profile perf_event\n"
	a := installed(t, libraries(library), profile)
	if output, err := a.try(t, "systemctl", "start", service); err == nil {
		t.Fatalf("the agent starts without CAP_SYS_ADMIN:\n%s", output)
	}
	remedy := []string{"/usr/share/crypto-auditing/perf-event.conf", dropIns}
	if !a.journalHas(t, remedy...) {
		t.Errorf("the journal does not have the remedy:\n%s", strings.Join(a.journal(t), "\n"))
	}
	// A restart would not help: only an administrator can resolve it.
	if status, n := a.property(t, service, "ExecMainStatus"), a.restarts(t); status != "78" || n != "0" {
		t.Errorf("the exit status is %s, the agent was restarted %s times", status, n)
	}
	if output, err := a.try(t, "crauctl", "status"); err == nil || !strings.Contains(output, remedy[0]) || !strings.Contains(output, remedy[1]) {
		t.Errorf("crauctl status does not print the remedy: %v\n%s", err, output)
	}
	// No old text is shown if the agent could not report a failure.
	a.write(t, dropIns+"/0.conf", "[Service]\nExecStart=\nExecStart=/bin/sh -c 'kill -KILL $$$$'\n")
	a.run(t, "systemctl", "daemon-reload")
	a.try(t, "systemctl", "restart", service)
	if output, err := a.try(t, "crauctl", "status"); err == nil || !strings.Contains(output, "the agent fails: see journalctl -u "+service) {
		t.Errorf("crauctl status of a killed agent: %v\n%s", err, output)
	}
}

func TestWatchdogDoesNotFireWhileTheDiskIsFull(t *testing.T) {
	a := installed(t, libraries(library)+"max_size = 0\nkeep_free = 0\n", "[Service]\nWatchdogSec=3s\n")
	a.run(t, "mkdir", logDir)
	a.run(t, "mount", "-t", "tmpfs", "-o", "size=1m", "log", logDir)
	t.Cleanup(func() {
		a.run(t, "systemctl", "stop", service)
		a.run(t, "umount", logDir)
	})
	a.run(t, "systemctl", "start", service)
	process := a.pid(t)
	fired := a.replay(t, library, 1)
	waitFor(t, "the handshake in the log", func() bool { return a.shown(t) == 1 })
	a.try(t, "dd", "if=/dev/zero", "of="+logDir+"/filler", "bs=64k")
	// The agent waits for space.
	fired += a.replay(t, library, 100)
	waitFor(t, "the full disk in the status", func() bool {
		return strings.Contains(a.property(t, service, "StatusText"), "no space left on device")
	})
	beats := map[string]bool{}
	waitFor(t, "two notifications of the watchdog", func() bool {
		beats[a.property(t, service, "WatchdogTimestampMonotonic")] = true
		return len(beats) > 2
	})
	a.run(t, "rm", logDir+"/filler")
	waitFor(t, "the recovery in the status", func() bool {
		return !strings.Contains(a.property(t, service, "StatusText"), "no space left on device")
	})
	if got := a.pid(t); got != process {
		t.Errorf("the process of the agent is %s, was %s", got, process)
	}
	if recorded, lost := a.stop(t); recorded+lost != fired {
		t.Errorf("recorded %d and lost %d of %d hits", recorded, lost, fired)
	}
}
