// SPDX-License-Identifier: Apache-2.0

package systemd

import (
	"encoding/json"
	"strings"
	"testing"
)

// subscribed makes a durable subscription whose owner stays connected until the test
// ends, so that the broker keeps running.
func subscribed(t *testing.T, a *agent) {
	t.Helper()
	const program = `
import sys, dbus
bus = dbus.SystemBus()
broker = bus.get_object("org.crypto_auditing.Broker", "/org/crypto_auditing/Broker")
broker.Subscribe("asking", dbus.Dictionary(signature="sv"), dbus.Dictionary(signature="sv"),
                 dbus_interface="org.crypto_auditing.Broker")
print("subscribed", flush=True)
sys.stdin.read()
`
	command := a.command("python3", "-c", program)
	stdin, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		_ = command.Wait() // the line below reports its failure
		a.run(t, "systemctl", "stop", brokerService)
		a.run(t, "find", stateDir, "-type", "f", "-delete")
	})
	line := make([]byte, len("subscribed\n"))
	if _, err := stdout.Read(line); err != nil || string(line) != "subscribed\n" {
		t.Fatalf("the subscriber printed %q: %v", line, err)
	}
}

func TestQueriesNeverStartTheAgent(t *testing.T) {
	a := brokerInstalled(t, libraries(library), `idle_timeout = "1s"`)
	fired := a.replay(t, library, 5)
	subscribed(t, a)
	if active, err := a.bus(t, asRoot, "GetStatus"); err != nil || !strings.Contains(active, `"agent-state" s "running"`) {
		t.Errorf("the status of a running agent is %s, %v", active, err)
	}
	if recorded, _ := a.stop(t); recorded != fired {
		t.Errorf("recorded %d of %d hits", recorded, fired)
	}
	started := a.property(t, service, "InvocationID")
	check := func(after string) {
		t.Helper()
		if state := a.property(t, service, "ActiveState"); state != "inactive" {
			t.Errorf("after %s the agent is %s", after, state)
		}
		if got := a.property(t, service, "InvocationID"); got != started {
			t.Errorf("after %s the agent was started: %s, was %s", after, got, started)
		}
	}

	output, err := a.try(t, "crauctl", "status")
	if err == nil || !strings.Contains(output, "State: stopped since ") || !strings.Contains(output, "systemctl start "+service) ||
		!strings.Contains(output, "Newest: ") {
		t.Errorf("crauctl status fails with %v:\n%s", err, output)
	}
	check("crauctl status")
	output, err = a.try(t, "sh", "-c", "crauctl status -o json 2>/dev/null")
	var s struct{ AgentState string }
	if parse := json.Unmarshal([]byte(output), &s); parse != nil || err == nil || s.AgentState != "stopped" {
		t.Errorf("crauctl status -o json prints %v, %v:\n%s", err, parse, output)
	}
	if output, err := a.try(t, "crauctl", "metrics", "--output", "/tmp/metrics.prom"); err == nil || !strings.Contains(output, "stopped") {
		t.Errorf("crauctl metrics fails with %v: %s", err, output)
	}
	if text := a.run(t, "cat", "/tmp/metrics.prom"); !strings.Contains(text, "crypto_auditing_up 0\n") {
		t.Errorf("the metrics are\n%s", text)
	}
	check("crauctl metrics")
	if output, err := a.bus(t, asRoot, "GetStatus"); err != nil || !strings.Contains(output, `"agent-state" s "stopped"`) ||
		!strings.Contains(output, `"agent-active" b false`) || strings.Contains(output, `"agent-error"`) {
		t.Errorf("GetStatus returns %s, %v", output, err)
	}
	check("GetStatus")
	a.try(t, "crauctl", "vacuum", "--max-size", "1")
	a.try(t, "systemctl", "start", truncateService)
	check("truncation")

	// The broker starts with a durable subscription whose owner is connected, and the
	// agent is disabled.
	a.run(t, "systemctl", "restart", brokerService)
	a.run(t, "systemctl", "disable", service)
	t.Cleanup(func() { a.run(t, "systemctl", "enable", service) })
	for range 3 {
		if output, err := a.bus(t, asMember, "GetStatus"); err != nil || !strings.Contains(output, `"agent-state" s "stopped"`) {
			t.Errorf("GetStatus returns %s, %v", output, err)
		}
		a.run(t, "sleep", "1")
	}
	check("restarting the broker")

	// The broker notices the start by itself, and connects.
	a.run(t, "systemctl", "start", service)
	waitFor(t, "the broker to notice that the agent runs", func() bool {
		output := a.run(t, "busctl", "get-property", "org.crypto_auditing.Broker", "/org/crypto_auditing/Broker", "org.crypto_auditing.Broker", "AgentActive")
		return output == "b true\n"
	})
}

func TestTheCallThatStartsTheBrokerGetsTheStateOfTheAgent(t *testing.T) {
	a := brokerInstalled(t, libraries(library), "")
	for range 5 {
		a.run(t, "systemctl", "stop", brokerService)
		output := a.run(t, "busctl", "get-property", "org.crypto_auditing.Broker", "/org/crypto_auditing/Broker", "org.crypto_auditing.Broker", "AgentActive")
		if output != "b true\n" {
			t.Errorf("AgentActive is %s", output)
		}
	}
}

func TestAFlushStartsTheAgent(t *testing.T) {
	a := brokerInstalled(t, libraries(library), "")
	a.stop(t)
	a.run(t, "crauctl", "flush")
	if !a.active(t) {
		t.Error("the agent does not run")
	}
}

func TestTheStateOfAFailedAgentIsReportedOnTheBus(t *testing.T) {
	a := brokerInstalled(t, libraries(library), "")
	a.stop(t)
	a.write(t, "/etc/crypto-auditing/agent.conf", "librarry = []\n")
	a.try(t, "systemctl", "start", service)
	if output, err := a.bus(t, asRoot, "GetStatus"); err != nil || !strings.Contains(output, `"agent-state" s "failed"`) || !strings.Contains(output, "librarry") {
		t.Errorf("GetStatus returns %s, %v", output, err)
	}
	if output, err := a.try(t, "crauctl", "status"); err == nil || !strings.Contains(output, "State: failed since ") || !strings.Contains(output, "librarry") {
		t.Errorf("crauctl status fails with %v:\n%s", err, output)
	}
}
