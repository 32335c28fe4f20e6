// SPDX-License-Identifier: Apache-2.0

//go:build vm

package guest

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTheMachineHasTheExpectedConfiguration(t *testing.T) {
	if release := run(t, "uname", "-r"); !strings.HasPrefix(release, *kernel+".") {
		t.Errorf("the kernel is %s, want %s", release, *kernel)
	}
	if !active(t, "dbus.service") || !strings.Contains(run(t, "readlink", "/proc/"+property(t, "dbus.service", "MainPID")+"/exe"), "dbus-daemon") {
		t.Error("the bus is not dbus-daemon's")
	}
	for unit, want := range map[string]string{
		agentService: "enabled", agentSocket: "enabled", brokerSocket: "enabled", truncateTimer: "enabled",
	} {
		if state, _ := try("systemctl", "is-enabled", unit); strings.TrimSpace(state) != want {
			t.Errorf("%s is %s", unit, state)
		}
	}
	if failed := run(t, "systemctl", "--failed", "--no-legend", "--plain"); strings.Contains(failed, "crypto-auditing") {
		t.Errorf("units have failed at boot:\n%s", failed)
	}
	boot := run(t, "journalctl", "-b", "-u", agentService, "-o", "cat")
	if !strings.Contains(boot, "recording (log_dir=") {
		t.Errorf("the agent did not start at boot:\n%s", boot)
	}
}

func TestACallOnItsSocketStartsTheAgent(t *testing.T) {
	prepared(t, both())
	if active(t, agentService) {
		t.Fatal("the agent runs before the call")
	}
	r := call(t, agentPath, "org.cryptoauditing.Agent.GetStatus")
	if s, _ := r.Parameters["status"].(map[string]any); r.Error != "" || s["directory"] != logDir {
		t.Errorf("the answer is %+v", r)
	}
	waitFor(t, "the agent to run", func() bool { return active(t, agentService) })
}

func TestTheAgentRecordsAsAnUnprivilegedUser(t *testing.T) {
	running(t)
	user := strings.TrimSpace(run(t, "id", "-u", "crypto-auditing"))
	process := "/proc/" + property(t, agentService, "MainPID")
	text, err := os.ReadFile(process + "/status")
	if err != nil {
		t.Fatal(err)
	}
	// CAP_SYS_ADMIN is 21, CAP_LEASE 28, CAP_PERFMON 38, CAP_BPF 39
	// (capabilities(7)).
	set := 1<<28 | 1<<38 | 1<<39
	if old() {
		set |= 1 << 21
	}
	capabilities := fmt.Sprintf("%016x", set)
	for _, want := range []string{
		"Uid:\t" + strings.Join([]string{user, user, user, user}, "\t"),
		"CapPrm:\t" + capabilities, "CapEff:\t" + capabilities, "CapBnd:\t" + capabilities, "NoNewPrivs:\t1",
	} {
		if !strings.Contains(string(text), want+"\n") {
			t.Errorf("the agent's status has no %q:\n%s", want, text)
		}
	}
	before := flush(t)
	fireTrace(t, 20)
	flush(t)
	if n := handshakesAfter(t, before); n != 20 {
		t.Errorf("the log shows %d of 20 handshakes", n)
	}
	if files := run(t, "ls", "-l", process+"/fd"); !strings.Contains(files, "io_uring") {
		t.Errorf("the log is not written by io_uring; the open files are:\n%s", files)
	}
}

func TestTheAgentAttachesByTheProfileOfTheKernelAndLosesNothing(t *testing.T) {
	profile, reason := "uprobe_multi", "by uprobe_multi"
	if old() {
		profile, reason = "perf_event", "by perf-event uprobes: the kernel is older than 6.6"
	}
	running(t)
	before := readStatus(t)
	fired := fireTrace(t, 50) + fire(t, handshake, "--count", "5") + fire(t, handshake, "--tls", "1.2", "--count", "5")
	after := readStatus(t)
	if after.Profile != profile {
		t.Errorf("the profile is %s", after.Profile)
	}
	if len(after.Libraries) != 2 {
		t.Errorf("the libraries are %+v", after.Libraries)
	}
	for _, l := range after.Libraries {
		if l.Attached != profile || l.Error != "" {
			t.Errorf("a library is %+v", l)
		}
	}
	seen, recorded := after.HitsSeen-before.HitsSeen, after.Hits-before.Hits
	if seen != fired || recorded != fired || lost(after.Lost) != lost(before.Lost) {
		t.Errorf("of %d hits the kernel saw %d, %d were recorded, the losses are %+v", fired, seen, recorded, after.Lost)
	}
	if leases := strings.Count(run(t, "cat", "/proc/locks"), "LEASE  ACTIVE    READ"); leases != 2 {
		t.Errorf("there are %d leases on the libraries, want 2", leases)
	}
	if text := run(t, "crauctl", "status"); !strings.Contains(text, reason) {
		t.Errorf("crauctl status does not show how the agent attaches:\n%s", text)
	}
}

func TestRateLimitLossesAreCounted(t *testing.T) {
	a := running(t)
	before, cursor := readStatus(t), flush(t)
	reload(t, both()+"rate_limit = 1\n")
	fired := fireTrace(t, 200)
	after := readStatus(t)
	limited := 0
	for _, l := range after.Lost {
		if l.Reason == "rate-limit" {
			limited = l.Hits
		}
	}
	seen, recorded := after.HitsSeen-before.HitsSeen, after.Hits-before.Hits
	if limited == 0 || seen != fired || recorded+limited != fired || lost(after.Lost)-lost(before.Lost) != limited {
		t.Errorf("of %d hits the kernel saw %d, %d were recorded, the losses are %+v", fired, seen, recorded, after.Lost)
	}
	if text := run(t, "crauctl", "status"); !strings.Contains(text, "rate-limit (kernel)") {
		t.Errorf("crauctl status does not show the reason:\n%s", text)
	}
	if text := run(t, "crauctl", "query", "--directory", logDir, "--after-cursor", cursor); !strings.Contains(text, "rate-limit") {
		t.Error("the log does not have the loss")
	}
	// The totals that it logs when it stops are the same.
	if _, lost := a.stop(t); lost != limited {
		t.Errorf("the agent logged the loss of %d hits, want %d", lost, limited)
	}
}

func TestTheLogIsWrittenWithoutIoUring(t *testing.T) {
	a := recording(t, both(), "[Service]\nSystemCallFilter=~io_uring_setup io_uring_enter io_uring_register\n")
	fired := fireTrace(t, 20)
	flush(t)
	if files := run(t, "ls", "-l", "/proc/"+property(t, agentService, "MainPID")+"/fd"); strings.Contains(files, "io_uring") {
		t.Errorf("io_uring is used; the open files are:\n%s", files)
	}
	if recorded, lost := a.stop(t); recorded != fired || lost != 0 {
		t.Errorf("recorded %d of %d hits, lost %d", recorded, fired, lost)
	}
	if !a.journalHas(t, "written without io_uring") {
		t.Error("the agent does not log that io_uring is not used")
	}
	run(t, "crauctl", "verify", "--directory", logDir)
	if n := handshakesAfter(t, "oldest"); n != 20 {
		t.Errorf("the log shows %d of 20 handshakes", n)
	}
}

func TestWithoutItsDropInTheAgentReportsTheRemedy(t *testing.T) {
	if !old() {
		t.Skip("this kernel needs no drop-in")
	}
	a := installed(t, both())
	if _, err := try("systemctl", "start", agentService); err == nil {
		t.Fatal("the agent starts without the capability that this kernel requires")
	}
	if !a.journalHas(t, oldKernels, dropIns) {
		t.Error("the journal does not have the remedy")
	}
	// Reading the status again gives the same result.
	for range 2 {
		if text, err := try("crauctl", "status"); err == nil || !strings.Contains(text, oldKernels) || !strings.Contains(text, dropIns) {
			t.Errorf("crauctl status does not print the remedy: %v\n%s", err, text)
		}
	}
	// Applies the remedy.
	run(t, "install", "-D", "-m", "644", "-t", dropIns, oldKernels)
	run(t, "systemctl", "daemon-reload")
	run(t, "systemctl", "restart", agentService)
	fired := fireTrace(t, 10)
	if s := readStatus(t); s.Hits != fired || lost(s.Lost) != 0 {
		t.Errorf("recorded %d of %d hits, the losses are %+v", s.Hits, fired, s.Lost)
	}
}

// On this machine the agent uses the front end at functions of the kernel, which not all
// hosts have.
func TestTheConfinedAgentRecordsHandshakesAtSockets(t *testing.T) {
	recording(t, "sources = [\"usdt\", \"wire\"]\n")
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	response, err := server.Client().Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	flush(t)
	output := run(t, "crauctl", "query", "--executable", filepath.Base(self), "--source", "wire")
	for _, side := range []string{"client", "server"} {
		if !strings.Contains(output, "tls::handshake "+side+", TLS 1.3") {
			t.Errorf("the log has no handshake of the %s:\n%s", side, output)
		}
	}
	if status := run(t, "crauctl", "status"); !strings.Contains(status, "Sockets: by trampoline") {
		t.Errorf("the status is\n%s", status)
	}
}
