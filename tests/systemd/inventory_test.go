// SPDX-License-Identifier: Apache-2.0

package systemd

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	inventoryService = "crypto-auditing-inventory.service"
	inventoryTimer   = "crypto-auditing-inventory.timer"

	inventoryDir = "/var/lib/crypto-auditing-inventory"
)

// inventoryInstalled is brokerInstalled with an inventory that does not run yet. conf is the
// inventory's configuration.
func inventoryInstalled(t *testing.T, config, conf string) *agent {
	t.Helper()
	a := brokerInstalled(t, config, "")
	a.run(t, "systemctl", "stop", inventoryService)
	a.run(t, "sh", "-c", "rm -rf "+inventoryDir+"/*") // the counts of other tests
	a.write(t, "/etc/crypto-auditing/inventory.conf", conf)
	t.Cleanup(func() { a.endInventory(t) })
	return a
}

// endInventory stops the inventory and the broker, and removes the subscription that holds the log.
func (a *agent) endInventory(t *testing.T) {
	t.Helper()
	a.run(t, "systemctl", "stop", inventoryService)
	_, _ = a.try(t, "crauctl", "subscriptions", "delete", "--user", "crypto-auditing-inventory", "inventory") // there is none if nothing was counted
	a.run(t, "systemctl", "stop", brokerService)
}

// inventory calls a method of the inventory on the bus as a user.
func (a *agent) inventory(t *testing.T, user []string, method string, arguments ...string) (string, error) {
	t.Helper()
	return a.try(t, slices.Concat([]string{"setpriv"}, user, []string{
		"busctl", "call", "org.crypto_auditing.Inventory", "/org/crypto_auditing/Inventory", "org.crypto_auditing.Inventory", method,
	}, arguments)...)
}

// summary has the arguments of Summarize for all TLS handshakes.
var summary = []string{"asa{sv}", "1", "executable", "1", "operation", "as", "1", "tls::handshake"}

func TestACallOnTheBusStartsTheInventoryAsAnUnprivilegedUser(t *testing.T) {
	a := inventoryInstalled(t, libraries(library), "")
	a.replay(t, library, 10)
	if output, err := a.bus(t, asRoot, "Flush"); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	for _, caller := range [][]string{asMember, asRoot} {
		if output, err := a.inventory(t, caller, "Summarize", summary...); err != nil || !strings.Contains(output, `"executable" s "replay"`) {
			t.Errorf("%v: the inventory has %s, %v", caller, output, err)
		}
	}
	status, err := os.ReadFile(a.path("/proc/" + a.property(t, inventoryService, "MainPID") + "/status"))
	if err != nil {
		t.Fatal(err)
	}
	user := strings.TrimSpace(a.run(t, "id", "-u", "crypto-auditing-inventory"))
	for _, want := range []string{
		"Uid:\t" + user + "\t" + user + "\t" + user + "\t" + user + "\n",
		"CapPrm:\t0000000000000000\n", "CapEff:\t0000000000000000\n", "CapBnd:\t0000000000000000\n", "NoNewPrivs:\t1\n",
	} {
		if !strings.Contains(string(status), want) {
			t.Errorf("the inventory's status has no %q:\n%s", want, status)
		}
	}
	if got := strings.TrimSpace(a.run(t, "stat", "-c", "%U %G %a", inventoryDir)); got != "crypto-auditing-inventory crypto-auditing-inventory 700" {
		t.Errorf("%s belongs to %s", inventoryDir, got)
	}
	// For other users the inventory asks polkit, which finds no authentication agent.
	if output, err := a.inventory(t, asStranger, "Summarize", summary...); err == nil || !strings.Contains(strings.ToLower(output), "denied") {
		t.Errorf("a stranger gets %s, %v", output, err)
	}
	a.write(t, "/etc/polkit-1/rules.d/00-test.rules", `polkit.addRule(function(action, subject) {
		if (action.id == "org.crypto-auditing.broker.read") return polkit.Result.YES;
	});`)
	t.Cleanup(func() { a.run(t, "rm", "/etc/polkit-1/rules.d/00-test.rules") })
	waitFor(t, "polkit to take the rule", func() bool {
		_, err := a.inventory(t, asStranger, "Summarize", summary...)
		return err == nil
	})
	a.checkNoComplaints(t, inventoryService)
}

func TestTheTimerStartsTheInventoryWhichCountsAndExitsWhenIdle(t *testing.T) {
	a := inventoryInstalled(t, libraries(library), `idle_timeout = "100ms"`)
	if state := strings.TrimSpace(a.run(t, "systemctl", "is-enabled", inventoryTimer)); state != "enabled" {
		t.Errorf("the timer is %s, want enabled", state)
	}
	if state := a.property(t, inventoryTimer, "ActiveState"); state != "active" {
		t.Errorf("the timer is %s, want active", state)
	}
	if unit := a.property(t, inventoryTimer, "Unit"); unit != inventoryService {
		t.Errorf("the timer starts %s", unit)
	}
	a.replay(t, library, 10)
	if output, err := a.bus(t, asRoot, "Flush"); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	// As the timer does it, without an earlier call.
	a.run(t, "systemctl", "start", inventoryService)
	waitFor(t, "the inventory to exit", func() bool { return a.property(t, inventoryService, "ActiveState") == "inactive" })
	if result := a.property(t, inventoryService, "Result"); result != "success" {
		t.Errorf("the inventory exited with result %s", result)
	}
	text, err := os.ReadFile(a.path(inventoryDir + "/inventory.sqlite"))
	if err != nil || !strings.Contains(string(text), "replay") {
		t.Errorf("nothing was counted: %d bytes, %v", len(text), err)
	}
	if list := a.run(t, "crauctl", "subscriptions"); !strings.Contains(list, "inventory") {
		t.Errorf("no subscription holds the log:\n%s", list)
	}
	a.checkNoComplaints(t, inventoryService)
}

func TestADamagedInventoryIsRebuilt(t *testing.T) {
	a := inventoryInstalled(t, libraries(library), "")
	a.replay(t, library, 10)
	if output, err := a.bus(t, asRoot, "Flush"); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	count := func() string {
		output, err := a.inventory(t, asRoot, "Summarize", summary...)
		count := regexp.MustCompile(`"count" t \d+`).FindString(output)
		if err != nil || count == "" {
			t.Fatalf("the inventory has %s, %v", output, err)
		}
		return count
	}
	before := count()
	a.run(t, "systemctl", "stop", inventoryService)
	a.write(t, inventoryDir+"/inventory.sqlite", strings.Repeat("damage", 10_000))
	if after := count(); after != before {
		t.Errorf("the inventory has %s, want %s", after, before)
	}
	if files := a.run(t, "ls", inventoryDir); !strings.Contains(files, "inventory-damaged-") {
		t.Errorf("the damaged file is not kept: %s", files)
	}
	if printed := strings.Join(a.journalOf(t, inventoryService), "\n"); !strings.Contains(printed, "was damaged and set aside") {
		t.Errorf("the journal does not report the damage:\n%s", printed)
	}
}
