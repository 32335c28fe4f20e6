// SPDX-License-Identifier: Apache-2.0

package systemd

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	brokerService   = "crypto-auditing-broker.service"
	brokerSocket    = "crypto-auditing-broker.socket"
	truncateService = "crypto-auditing-truncate.service"
	truncateTimer   = "crypto-auditing-truncate.timer"

	stateDir = "/var/lib/crypto-auditing"
)

// brokerInstalled is recording with a broker that does not run yet. conf is the
// broker's configuration.
func brokerInstalled(t *testing.T, config, conf string) *agent {
	t.Helper()
	a := recording(t, config)
	a.run(t, "systemctl", "stop", brokerService)
	a.write(t, "/etc/crypto-auditing/broker.conf", conf)
	t.Cleanup(func() { a.run(t, "systemctl", "stop", brokerService) })
	return a
}

// bus calls a method of the broker on the bus as a user.
func (a *agent) bus(t *testing.T, user []string, method string, arguments ...string) (string, error) {
	t.Helper()
	return a.try(t, slices.Concat([]string{"setpriv"}, user, []string{
		"busctl", "call", "org.crypto_auditing.Broker", "/org/crypto_auditing/Broker", "org.crypto_auditing.Broker", method,
	}, arguments)...)
}

func TestACallOnTheBusStartsTheBrokerAsAnUnprivilegedUser(t *testing.T) {
	a := brokerInstalled(t, libraries(library), "")
	a.replay(t, library, 10)
	for _, caller := range [][]string{asMember, asRoot} {
		if output, err := a.bus(t, caller, "Flush"); err != nil {
			t.Fatalf("%v: %v: %s", caller, err, output)
		}
	}
	if output, err := a.bus(t, asMember, "Read", "sa{sv}u", "oldest", "1", "contexts", "as", "1", "tls::handshake", "10"); err != nil || !strings.Contains(output, "tls::handshake") {
		t.Errorf("the broker reads %s, %v", output, err)
	}
	status, err := os.ReadFile(a.path("/proc/" + a.property(t, brokerService, "MainPID") + "/status"))
	if err != nil {
		t.Fatal(err)
	}
	user := strings.TrimSpace(a.run(t, "id", "-u", "crypto-auditing-broker"))
	for _, want := range []string{
		"Uid:\t" + user + "\t" + user + "\t" + user + "\t" + user + "\n",
		"CapPrm:\t0000000000000000\n", "CapEff:\t0000000000000000\n", "CapBnd:\t0000000000000000\n", "NoNewPrivs:\t1\n",
	} {
		if !strings.Contains(string(status), want) {
			t.Errorf("the broker's status has no %q:\n%s", want, status)
		}
	}
	if got := strings.TrimSpace(a.run(t, "stat", "-c", "%U %G %a", stateDir)); got != "crypto-auditing-broker crypto-auditing-broker 700" {
		t.Errorf("%s belongs to %s", stateDir, got)
	}
	a.checkNoComplaints(t, brokerService)
}

func TestTheBrokerExitsWhenIdleAndNoCallIsLost(t *testing.T) {
	a := brokerInstalled(t, libraries(library), `idle_timeout = "100ms"`)
	// The pauses are around the idle timeout, so that calls arrive at every stage of
	// the exit.
	script := `for i in $(seq 200); do
		sleep 0.$(printf %03d $((80 + i % 40)))
		busctl call org.crypto_auditing.Broker /org/crypto_auditing/Broker org.crypto_auditing.Broker ListSubscriptions || exit
	done`
	before := a.property(t, brokerService, "InvocationID")
	done := make(chan struct{})
	var output string
	var err error
	go func() {
		defer close(done)
		bytes, failed := a.command("sh", "-c", script).CombinedOutput()
		output, err = string(bytes), failed
	}()
	invocations := map[string]bool{before: true}
	for over := false; !over; {
		select {
		case <-done:
			over = true
		case <-time.After(20 * time.Millisecond):
		}
		invocations[a.property(t, brokerService, "InvocationID")] = true
	}
	if err != nil {
		t.Errorf("%v:\n%s", err, output)
	}
	if n := strings.Count(output, "a(sotta{sv}) 0\n"); n != 200 {
		t.Errorf("%d of 200 calls were answered:\n%s", n, output)
	}
	if len(invocations) < 4 {
		t.Errorf("the broker hardly exited between the calls: %d runs", len(invocations)-1)
	}
	waitFor(t, "the broker to exit", func() bool { return a.property(t, brokerService, "ActiveState") == "inactive" })
	if result := a.property(t, brokerService, "Result"); result != "success" {
		t.Errorf("the broker exited with result %s", result)
	}
}

func TestOtherUsersNeedAuthorizationByAnAdministrator(t *testing.T) {
	a := brokerInstalled(t, libraries(library), "")
	// The broker's request starts polkit, which finds no authentication agent.
	if output, err := a.bus(t, asStranger, "GetStatus"); err == nil || !strings.Contains(strings.ToLower(output), "denied") && !strings.Contains(output, "uthori") {
		t.Errorf("a stranger gets %s, %v", output, err)
	}
	if state := a.property(t, "polkit.service", "ActiveState"); state != "active" {
		t.Errorf("polkit is %s", state)
	}
	a.write(t, "/etc/polkit-1/rules.d/00-test.rules", `polkit.addRule(function(action, subject) {
		if (action.id == "org.crypto-auditing.broker.read") return polkit.Result.YES;
	});`)
	t.Cleanup(func() { a.run(t, "rm", "/etc/polkit-1/rules.d/00-test.rules") })
	waitFor(t, "polkit to take the rule", func() bool {
		_, err := a.bus(t, asStranger, "GetStatus")
		return err == nil
	})
	if output, err := a.bus(t, asStranger, "Truncate", "a{sv}", "0"); err == nil {
		t.Errorf("a stranger truncates: %s", output)
	}
}

func TestTheTimerTruncatesTheLog(t *testing.T) {
	a := brokerInstalled(t, libraries(library), "[truncate]\nmax_size = \"1B\"\nkeep_free = 0\n")
	for range 3 {
		a.replay(t, library, 10)
		a.run(t, "crauctl", "rotate")
	}
	before := a.segments(t)
	if len(before) < 3 {
		t.Fatalf("there are only the segments %v", before)
	}
	if state := strings.TrimSpace(a.run(t, "systemctl", "is-enabled", truncateTimer)); state != "enabled" {
		t.Errorf("the timer is %s, want enabled", state)
	}
	if state := a.property(t, truncateTimer, "ActiveState"); state != "active" {
		t.Errorf("the timer is %s, want active", state)
	}
	if next := a.property(t, truncateTimer, "NextElapseUSecRealtime"); next == "" {
		t.Error("the timer has no next time")
	}
	// The unit that the timer starts.
	if unit := a.property(t, truncateTimer, "Unit"); unit != truncateService {
		t.Errorf("the timer starts %s", unit)
	}
	// A limit that would remove the whole log is more likely a mistake than intended.
	if output, err := a.try(t, "systemctl", "start", truncateService); err == nil {
		t.Errorf("the whole log is removed without force:\n%s", output)
	}
	if after := a.segments(t); !slices.Equal(after, before) {
		t.Errorf("the segments %v became %v", before, after)
	}
	if got := a.run(t, "crauctl", "vacuum", "--force"); !strings.Contains(got, fmt.Sprintf("removed %d segments, ", len(before)-1)) {
		t.Errorf("crauctl prints %q", got)
	}
	a.replay(t, library, 10)
	a.run(t, "crauctl", "rotate")
	if before = a.segments(t); len(before) != 2 {
		t.Fatalf("there are %v, want two segments", before)
	}
	a.run(t, "systemctl", "start", truncateService)
	if after := a.segments(t); len(after) != 1 || after[0] != before[1] {
		t.Errorf("the segments %v became %v", before, after)
	}
	output := strings.Join(a.journalOf(t, truncateService), "\n")
	for _, want := range []string{"max-size=1B would remove the whole log at once", "crauctl vacuum --force", "removed 1 segment, "} {
		if !strings.Contains(output, want) {
			t.Errorf("the journal has no %q:\n%s", want, output)
		}
	}
}
