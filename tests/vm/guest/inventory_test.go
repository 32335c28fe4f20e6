// SPDX-License-Identifier: Apache-2.0

//go:build vm

package guest

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestTheInventoryAnswersInItsDomain(t *testing.T) {
	const inventoryService, inventoryDir = "crypto-auditing-inventory.service", "/var/lib/crypto-auditing-inventory"
	running(t)
	fireTrace(t, 3)
	flush(t)
	t.Cleanup(func() {
		run(t, "systemctl", "stop", inventoryService)
		_, _ = try("crauctl", "subscriptions", "delete", "--user", "crypto-auditing-inventory", "inventory")
	})
	// The inventory can read in its domain which cryptography the kernel uses.
	run(t, "modprobe", "wireguard")
	// One answer is the result of a method, others come through a pipe.
	sums := run(t, "busctl", "--timeout=90", "call", "org.crypto_auditing.Inventory", "/org/crypto_auditing/Inventory",
		"org.crypto_auditing.Inventory", "Summarize", "asa{sv}", "1", "executable", "0")
	if !strings.Contains(sums, `"executable" s "replay"`) {
		t.Errorf("the sums are %s", sums)
	}
	if list := run(t, "crauctl", "inventory", "-o", "json"); !strings.Contains(list, `"replay"`) {
		t.Errorf("the list is %s", list)
	}
	if text := run(t, "crauctl", "report", "-o", "json"); !strings.Contains(text, "This machine uses WireGuard (its module is loaded).") {
		t.Errorf("the report is %s", text)
	}
	if got := typeOf(run(t, "ps", "-o", "label=", "-p", property(t, inventoryService, "MainPID"))); got != "crau_inventory_t" {
		t.Errorf("the inventory runs as %s", got)
	}
	files, err := filepath.Glob(inventoryDir + "/*")
	if err != nil || len(files) == 0 {
		t.Errorf("the inventory has the files %v, %v", files, err)
	}
	for _, file := range append(files, inventoryDir) {
		if got := typeOf(run(t, "stat", "-c", "%C", file)); got != "crau_inventory_var_lib_t" {
			t.Errorf("%s is labelled %s", file, got)
		}
	}
	if wrong := run(t, "restorecon", "-n", "-v", "-R", "/usr/bin", inventoryDir); wrong != "" {
		t.Errorf("these labels differ from the policy:\n%s", wrong)
	}
}
