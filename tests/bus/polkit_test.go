// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"os"
	"strings"
	"syscall"
	"testing"
)

// rules lets stranger read and subscribe, and refuses it truncation without
// asking anybody. What no rule decides is as the installed actions say: an
// administrator is to be asked, and there is none.
const rules = `
polkit.addRule(function(action, subject) {
    if (subject.user == "stranger" && action.id == "org.crypto-auditing.broker.truncate")
        return polkit.Result.NO;
    if (subject.user == "stranger" && action.id.indexOf("org.crypto-auditing.broker.") == 0)
        return polkit.Result.YES;
});
`

func TestPolkitDecidesAboutEverybodyElse(t *testing.T) {
	onEveryScene(t, func(t *testing.T, w *world) {
		w.fire(t, 3)
		for _, user := range []string{"stranger", "other"} {
			if r := w.as(t, user, call("Read", "sa{sv}u", "oldest", "0", "1")...); r.code == 0 {
				t.Fatalf("%s may read without polkit", user)
			}
		}
		if err := os.WriteFile(w.path("/etc/polkit-1/rules.d/00-test.rules"), []byte(rules), 0o644); err != nil {
			t.Fatal(err)
		}
		polkit := w.start(t, root, "/usr/lib/polkit-1/polkitd", "--no-debug")
		waitFor(t, "polkit", func() bool {
			return w.as(t, root, "busctl", "call", "org.freedesktop.PolicyKit1", "/org/freedesktop/PolicyKit1/Authority",
				"org.freedesktop.DBus.Peer", "Ping").code == 0
		})
		for method, c := range map[string]struct {
			arguments []string
			allowed   bool
		}{
			"Read":              {[]string{"sa{sv}u", "oldest", "0", "1"}, true},
			"Open":              {[]string{"sa{sv}a{sv}", "oldest", "0", "0"}, true},
			"Flush":             {nil, true},
			"GetStatus":         {nil, true},
			"Subscribe":         {[]string{"sa{sv}a{sv}", "", "0", "0"}, true},
			"ListSubscriptions": {nil, true},
			"Truncate":          {[]string{"a{sv}", "0"}, false},
		} {
			for user, allowed := range map[string]bool{root: true, member: true, stranger: c.allowed, "other": false} {
				if r := w.as(t, user, call(method, c.arguments...)...); allowed != (r.code == 0) {
					t.Errorf("%s calls %s: exit code %d, %s", user, method, r.code, r.stderr)
				}
			}
		}
		// Whoever may subscribe is sent signals.
		subscriber := w.start(t, stranger, "/usr/bin/python3", examples+"subscribe.py")
		c := w.connect(t)
		waitFor(t, "the subscriber", func() bool {
			s, err := c.Status(t.Context())
			return err == nil && s.Attached > 0
		})
		w.fire(t, 1)
		waitFor(t, "signals", func() bool { return strings.Contains(subscriber.says.String(), "replay: ") })

		polkit.signal(syscall.SIGTERM)
		<-polkit.exited
		if r := w.as(t, stranger, call("Read", "sa{sv}u", "oldest", "0", "1")...); r.code == 0 {
			t.Error("stranger may read when polkit is gone")
		}
	})
}
