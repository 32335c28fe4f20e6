// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"crypto-auditing/dbus"
)

// inventories is the user that runs the inventory.
const inventories = "crypto-auditing-inventory"

// callInventory returns a command that calls a method of the inventory.
func callInventory(member string, arguments ...string) []string {
	return append([]string{
		"busctl", "--json=short", "call", "org.crypto_auditing.Inventory", "/org/crypto_auditing/Inventory",
		"org.crypto_auditing.Inventory", member,
	}, arguments...)
}

// startInventory waits until the inventory serves. On dbus-broker, which cannot start it
// here, a loop starts it whenever it has exited.
func (w *world) startInventory(t *testing.T) {
	t.Helper()
	if w.daemon == "dbus-broker" {
		w.start(t, inventories, "sh", "-c", "while :; do crau-inventory; sleep 0.05; done")
	}
	waitFor(t, "the inventory", func() bool { return w.as(t, root, callInventory("ListPolicies")...).code == 0 })
}

// counts returns the counts of the inventory by the values of keys.
func (w *world) counts(t *testing.T, user string, keys ...string) map[string]int {
	t.Helper()
	arguments := slices.Concat([]string{"asa{sv}", string(rune('0' + len(keys)))}, keys, []string{"1", "operation", "as", "1", "tls::handshake"})
	var reply struct {
		Data [][]map[string]struct{ Data any }
	}
	text := w.must(t, user, callInventory("Summarize", arguments...)...)
	if err := json.Unmarshal([]byte(text), &reply); err != nil || len(reply.Data) != 1 {
		t.Fatalf("%v:\n%s", err, text)
	}
	counts := map[string]int{}
	for _, row := range reply.Data[0] {
		var values []string
		for _, key := range keys {
			text, _ := row[key].Data.(string)
			values = append(values, text)
		}
		count, _ := row["count"].Data.(float64)
		counts[strings.Join(values, " ")] = int(count)
	}
	return counts
}

// handshakes counts the TLS handshakes of the publisher in the log by version, with an
// independent decoder.
func (w *world) handshakes(t *testing.T) map[string]int {
	t.Helper()
	opened, versions := map[string]bool{}, map[string]string{}
	for _, e := range w.log(t) {
		id := string(e.Context)
		for _, event := range e.Events {
			if _, ok := event["NewContext"]; ok && strings.HasPrefix(e.Name, "tls::handshake") {
				opened[id] = true
			}
			if data, ok := event["Data"].(map[any]any); ok && data["key"] == "tls::protocol_version" {
				versions[id] = map[uint64]string{771: "TLS 1.2", 772: "TLS 1.3"}[data["value"].(uint64)]
			}
		}
	}
	all := map[string]int{}
	for id := range opened {
		all["replay "+versions[id]]++
	}
	return all
}

func TestTheInventoryCountsEachOperationOnce(t *testing.T) {
	onEveryNewBusWithServices(t, func(t *testing.T, w *world) {
		w.fire(t, 5)
		w.startInventory(t)
		for round := range 4 {
			w.must(t, stranger, publisher, "--count", "2", "--fresh-ids", opt+"/traces/gnutls-tls12.txt")
			w.fire(t, 3)
			if round%2 == 1 {
				// After the restart, the inventory must count the operations that it has
				// not stored, and only these.
				w.must(t, root, "pkill", "-KILL", "-x", "crau-inventory")
			}
			want := w.handshakes(t)
			if want["replay TLS 1.2"] == 0 || want["replay TLS 1.3"] == 0 {
				t.Fatalf("the log has %v", want)
			}
			waitFor(t, "the inventory to count", func() bool {
				if w.as(t, root, callInventory("ListPolicies")...).code != 0 {
					return false // not restarted yet
				}
				got := w.counts(t, member, "executable", "version")
				for key, n := range got {
					if n > want[key] {
						t.Fatalf("%d handshakes of %q are counted, the log has %v", n, key, want)
					}
				}
				return maps.Equal(got, want)
			})
		}
		if list := w.must(t, root, "crauctl", "subscriptions"); !strings.Contains(list, "inventory") {
			t.Errorf("no subscription holds the log:\n%s", list)
		}
	})
}

func TestReadersOfTheLogCanQueryTheInventory(t *testing.T) {
	onEveryBusWithServices(t, func(t *testing.T, w *world) {
		w.fire(t, 1)
		w.startInventory(t)
		for member, arguments := range map[string][]string{
			"List":         {"a{sv}su", "0", "", "10"},
			"Summarize":    {"asa{sv}", "0", "0"},
			"ListPolicies": nil,
			"Report":       {"a{sv}", "0"},
			"CheckPolicy":  {"sa{sv}", "NONE", "0"},
			"Export":       {"sa{sv}", "observed-json", "0"},
		} {
			for user, authorised := range map[string]bool{root: true, "member": true, stranger: false} {
				r := w.as(t, user, callInventory(member, arguments...)...)
				denied := strings.Contains(r.stderr, "Access denied")
				if denied == authorised || authorised && r.code != 0 && member != "CheckPolicy" {
					t.Errorf("%s calls %s: exit code %d\n%s%s", user, member, r.code, r.stdout, r.stderr)
				}
			}
		}
		if r := w.as(t, root, callInventory("CheckPolicy", "sa{sv}", "NONE", "0")...); !strings.Contains(r.stderr, "NONE") {
			t.Errorf("the error for a missing policy does not name it: %s%s", r.stdout, r.stderr)
		}
	})
}

func TestTheIntrospectionOfTheInventoryIsAsDocumented(t *testing.T) {
	onEveryBusWithServices(t, func(t *testing.T, w *world) {
		w.startInventory(t)
		const name = "org.crypto_auditing.Inventory"
		live := interfaces(t, w.must(t, stranger, "gdbus", "introspect", "--system", "--dest", name, "--object-path", "/org/crypto_auditing/Inventory", "--xml"))
		if documented := interfaces(t, dbus.Inventory); !slices.Equal(live[name], documented[name]) {
			t.Errorf("the interface is\n%s\nand documented as\n%s", strings.Join(live[name], "\n"), strings.Join(documented[name], "\n"))
		}
	})
}

func TestEveryDocumentedCommandOfTheInventoryRuns(t *testing.T) {
	blocks := commands(t, "../../docs/inventory-api.md")
	if len(blocks) < 5 {
		t.Fatalf("found %d commands, want at least 5", len(blocks))
	}
	onEveryBusWithServices(t, func(t *testing.T, w *world) {
		w.must(t, stranger, publisher, "--count", "2", "--fresh-ids", opt+"/traces/gnutls-tls12.txt")
		w.fire(t, 2)
		w.startInventory(t)
		for _, user := range []string{root, member} {
			for _, block := range blocks {
				r := w.as(t, user, "sh", "-c", block)
				if r.code != 0 || r.stderr != "" || strings.TrimSpace(r.stdout) == "" {
					t.Errorf("%s runs\n%s\nexit code %d\n%s%s", user, block, r.code, r.stdout, r.stderr)
				}
				if strings.Contains(block, "TLS 1.2") && !strings.Contains(r.stdout, "replay") {
					t.Errorf("%s runs\n%s\nwhich does not print the program that uses TLS 1.2: %s", user, block, r.stdout)
				}
			}
		}
		table := w.must(t, member, "/usr/bin/python3", examples+"inventory.py")
		if !strings.Contains(table, "replay TLS 1.3 ") || !strings.Contains(table, "replay TLS 1.2 ") {
			t.Errorf("the table is\n%s", table)
		}
	})
}

func TestOnlyInventoryAndRootMayOwnItsName(t *testing.T) {
	onEveryBus(t, func(t *testing.T, w *world) {
		for user, want := range map[string]string{root: "allowed", inventories: "allowed", brokers: accessDenied, member: accessDenied, stranger: accessDenied} {
			got := w.must(t, user, py(`
import dbus
try:
    dbus.SystemBus().request_name("org.crypto_auditing.Inventory", dbus.bus.NAME_FLAG_DO_NOT_QUEUE)
    print("allowed")  # whether it is taken or not
except dbus.DBusException as e:
    print(e.get_dbus_name())
`)...)
			if strings.TrimSpace(got) != want {
				t.Errorf("%s: %s, want %s", user, got, want)
			}
		}
	})
}
