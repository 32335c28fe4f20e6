// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"strings"
	"testing"
)

// call returns a command that calls a method of the broker.
func call(method string, arguments ...string) []string {
	return append([]string{
		"busctl", "call", "org.crypto_auditing.Broker", "/org/crypto_auditing/Broker", "org.crypto_auditing.Broker", method,
	}, arguments...)
}

// The worlds have no polkit.
func TestWithoutPolkitTheGroupMayReadAndRootTruncate(t *testing.T) {
	calls := map[string][]string{
		"Read":              {"sa{sv}u", "oldest", "0", "1"},
		"ReadOperations":    {"sa{sv}ua{sv}", "oldest", "0", "1", "0"},
		"Open":              {"sa{sv}a{sv}", "oldest", "0", "0"},
		"Subscribe":         {"sa{sv}a{sv}", "", "0", "0"},
		"ListSubscriptions": nil,
		"Flush":             nil,
		"Truncate":          {"a{sv}", "0"},
		"GetStatus":         nil,
	}
	onEveryBusWithServices(t, func(t *testing.T, w *world) {
		w.fire(t, 1)
		for method, arguments := range calls {
			// The group may do everything except remove. The user of the timer may remove.
			truncates := method == "Truncate"
			for user, allowed := range map[string]bool{root: true, member: !truncates, brokers: true, stranger: false} {
				r := w.as(t, user, call(method, arguments...)...)
				if allowed != (r.code == 0) || (!allowed && !strings.Contains(strings.ToLower(r.stderr), "denied") &&
					!strings.Contains(r.stderr, "uthor")) {
					t.Errorf("%s calls %s: exit code %d, %s", user, method, r.code, r.stderr)
				}
			}
		}
		for _, user := range []string{root, member, stranger} {
			w.must(t, user, "busctl", "get-property", "org.crypto_auditing.Broker", "/org/crypto_auditing/Broker",
				"org.crypto_auditing.Broker", "Version", "Newest")
		}
	})
}

func TestOnlyTheOwnerAndRootMayUseASubscription(t *testing.T) {
	onEveryBusWithServices(t, func(t *testing.T, w *world) {
		_, quoted, _ := strings.Cut(w.must(t, member, call("Subscribe", "sa{sv}a{sv}", "mine", "0", "0")...), `"`)
		path := strings.TrimSuffix(strings.TrimSpace(quoted), `"`)
		seek := []string{"busctl", "call", "org.crypto_auditing.Broker", path, "org.crypto_auditing.Broker.Subscription", "Seek", "s", "oldest"}
		for user, allowed := range map[string]bool{root: true, member: true, stranger: false, brokers: false} {
			if r := w.as(t, user, seek...); allowed != (r.code == 0) {
				t.Errorf("%s: exit code %d, %s", user, r.code, r.stderr)
			}
		}
		if r := w.as(t, root, call("GetSubscription", "s", "mine")...); r.code == 0 {
			t.Errorf("root has a subscription of this name: %s", r.stdout)
		}
		w.must(t, member, "busctl", "call", "org.crypto_auditing.Broker", path, "org.crypto_auditing.Broker.Subscription", "Close")
	})
}
