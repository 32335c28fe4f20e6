// SPDX-License-Identifier: Apache-2.0

package dbus_test

import (
	"encoding/xml"
	"maps"
	"os"
	"strings"
	"testing"

	"crypto-auditing/dbus"
)

// The API is a contract, like the broker's.
func TestTheInventoryInterfaceKeepsItsMembers(t *testing.T) {
	agreed := map[string]string{
		"method List":               "a{sv}su → aa{sv}s",
		"method Summarize":          "asa{sv} → aa{sv}",
		"method ListPolicies":       " → as",
		"method Report":             "a{sv} → a{sv}",
		"method CheckPolicy":        "sa{sv} → a{sv}",
		"method Export":             "sa{sv} → h",
		"signal Changed":            "",
		"property Version":          "s read",
		"property InterfaceVersion": "u read",
		"property UpToDate":         "s read",
		"property Counting":         "b read",
		"property Coverage":         "a{sv} read",
	}
	var n node
	if err := xml.Unmarshal([]byte(dbus.Inventory), &n); err != nil {
		t.Fatal(err)
	}
	if n.Name != "/org/crypto_auditing/Inventory" || len(n.Interfaces) != 1 || n.Interfaces[0].Name != "org.crypto_auditing.Inventory" {
		t.Fatalf("the XML describes %+v", n)
	}
	i := &n.Interfaces[0]
	got := signatures(i)
	for _, s := range i.Signals {
		got["signal "+s.Name] += "" // it may have no arguments
	}
	if !maps.Equal(got, agreed) {
		t.Errorf("the interface has %v, want %v", got, agreed)
	}
	for _, p := range i.Properties {
		if len(p.Annotations) != 1 || p.Annotations[0].Name != "org.freedesktop.DBus.Property.EmitsChangedSignal" {
			t.Errorf("%s does not declare its change signal", p.Name)
		}
	}
}

func TestAllFilesOfTheInventoryNameTheSameService(t *testing.T) {
	read := func(name string) string {
		t.Helper()
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	activation := read("org.crypto_auditing.Inventory.service")
	for _, line := range []string{
		"Name=org.crypto_auditing.Inventory\n",
		"SystemdService=crypto-auditing-inventory.service\n",
		"User=crypto-auditing-inventory\n",
	} {
		if !strings.Contains(activation, "\n"+line) {
			t.Errorf("the activation file has no line %q", line)
		}
	}
	if !strings.Contains(read("org.crypto_auditing.Inventory.conf"), `<policy user="crypto-auditing-inventory">`) {
		t.Error("the bus policy does not name the user of the service")
	}
	if !strings.Contains(dbus.Inventory, "`org.crypto-auditing.broker.read`") {
		t.Error("the API does not name the action of polkit")
	}
}
