// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"os"
	"strings"
	"syscall"
	"testing"
)

// rules allows the user stranger to read and subscribe, and denies truncation without a
// dialog. Where no rule decides, the installed actions apply: they require an
// administrator, and there is none.
const rules = `
polkit.addRule(function(action, subject) {
    if (subject.user == "stranger" && action.id == "org.crypto-auditing.broker.truncate")
        return polkit.Result.NO;
    if (subject.user == "stranger" && action.id.indexOf("org.crypto-auditing.broker.") == 0)
        return polkit.Result.YES;
});
`

func TestPolkitDecidesAboutOtherUsers(t *testing.T) {
	onEveryBusWithServices(t, func(t *testing.T, w *world) {
		w.fire(t, 3)
		for _, user := range []string{"stranger", "other"} {
			if r := w.as(t, user, call("Read", "sa{sv}u", "oldest", "0", "1")...); r.code == 0 {
				t.Fatalf("%s is authorised without polkit", user)
			}
		}
		if err := os.WriteFile(w.Path("/etc/polkit-1/rules.d/00-test.rules"), []byte(rules), 0o644); err != nil {
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
			"ReadOperations":    {[]string{"sa{sv}ua{sv}", "oldest", "0", "1", "0"}, true},
			"Open":              {[]string{"sa{sv}a{sv}", "oldest", "0", "0"}, true},
			"Flush":             {nil, true},
			"GetStatus":         {nil, true},
			"Subscribe":         {[]string{"sa{sv}a{sv}", "", "0", "0"}, true},
			"ListSubscriptions": {nil, true},
			"Truncate":          {[]string{"a{sv}", "0"}, false},
		} {
			member := member
			if method == "Truncate" {
				member = brokers // the group may not truncate, see below
			}
			for user, allowed := range map[string]bool{root: true, member: true, stranger: c.allowed, "other": false} {
				if r := w.as(t, user, call(method, c.arguments...)...); allowed != (r.code == 0) {
					t.Errorf("%s calls %s: exit code %d, %s", user, method, r.code, r.stderr)
				}
			}
		}
		if r := w.as(t, member, call("Truncate", "a{sv}", "0")...); r.code == 0 {
			t.Errorf("a member of the group may truncate without an administrator: %s", r.stdout)
		}
		// Authorised subscribers receive signals.
		subscriber := w.start(t, stranger, "/usr/bin/python3", examples+"subscribe.py")
		c := w.connect(t)
		waitFor(t, "the subscriber", func() bool {
			s, err := c.Status(t.Context())
			return err == nil && s.Attached > 0
		})
		w.fire(t, 1)
		waitFor(t, "signals", func() bool { return strings.Contains(subscriber.output.String(), "replay: ") })

		polkit.signal(syscall.SIGTERM)
		<-polkit.exited
		if r := w.as(t, stranger, call("Read", "sa{sv}u", "oldest", "0", "1")...); r.code == 0 {
			t.Error("stranger may still read after polkit has stopped")
		}
	})
}

// silentPolkit is a polkit that never replies, as if its user ignored the password dialog.
const silentPolkit = `
import dbus, time
bus = dbus.SystemBus()
bus.request_name("org.freedesktop.PolicyKit1")
print("deaf", flush=True)
time.sleep(120)
`

// flood makes many calls that polkit has to authorise, prints a line when the broker has
// refused all but 16 because they exceed the limit, and waits. The calls allow interactive
// authorisation, which the Python bindings do not support.
const flood = `
import os, select, socket, struct, sys, time
def text(kind, code, value):
    return code, kind, value.encode()
def call(serial, flags, *fields):
    header = b""
    for code, kind, value in fields:
        header += b"\0" * (-len(header) % 8) + struct.pack("<BB", code, 1) + kind + b"\0"
        header += b"\0" * (-len(header) % 4) + struct.pack("<I", len(value)) + value + b"\0"
    message = struct.pack("<cBBBIII", b"l", 1, flags, 1, 0, serial, len(header)) + header
    return message + b"\0" * (-len(message) % 8)
sockets = []
for n in range(20):
    s = socket.socket(socket.AF_UNIX)
    s.connect(sys.argv[1])
    s.sendall(b"\0AUTH EXTERNAL " + str(os.getuid()).encode().hex().encode() + b"\r\n")
    assert s.recv(1000).startswith(b"OK")
    s.sendall(b"BEGIN\r\n" + call(1, 0, text(b"o", 1, "/org/freedesktop/DBus"), text(b"s", 2, "org.freedesktop.DBus"),
        text(b"s", 3, "Hello"), text(b"s", 6, "org.freedesktop.DBus")))
    sockets.append(s)
for n in range(64):
    for s in sockets:
        s.sendall(call(2 + n, 4, text(b"o", 1, "/org/crypto_auditing/Broker"), text(b"s", 2, "org.crypto_auditing.Broker"),
            text(b"s", 3, "GetStatus"), text(b"s", 6, "org.crypto_auditing.Broker")))
refused, reported = 0, False
received = {s: b"" for s in sockets}
while True:
    for s in select.select(sockets, [], [])[0]:
        received[s] += s.recv(1 << 20)
    refused = sum(r.count(b"Error.LimitsExceeded") for r in received.values())
    if refused >= 20 * 64 - 16 and not reported:
        reported = True
        print("refused", flush=True)
`

func TestAPendingPolkitDialogDoesNotBlockOthers(t *testing.T) {
	onEveryBusWithServices(t, func(t *testing.T, w *world) {
		w.must(t, member, call("GetStatus")...)
		polkit := w.start(t, "polkitd", "/usr/bin/python3", "-c", silentPolkit)
		polkit.waitForOutput(t, "deaf")
		flooder := w.start(t, stranger, "/usr/bin/python3", "-c", flood, busSocket)
		flooder.waitForOutput(t, "refused")
		for _, user := range []string{root, member} {
			if r := w.as(t, user, call("GetStatus")...); r.code != 0 {
				t.Errorf("%s calls GetStatus: exit code %d, %s", user, r.code, r.stderr)
			}
		}
		flooder.signal(syscall.SIGTERM)
		<-flooder.exited
		polkit.signal(syscall.SIGTERM)
		<-polkit.exited
	})
}
