// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"strings"
	"testing"
)

// py returns a command that runs a program in the distribution's Python.
func py(text string) []string { return []string{"/usr/bin/python3", "-c", text} }

const accessDenied = "org.freedesktop.DBus.Error.AccessDenied"

func TestOnlyBrokerAndRootMayOwnTheName(t *testing.T) {
	onEveryBus(t, func(t *testing.T, w *world) {
		for user, want := range map[string]string{root: "allowed", brokers: "allowed", member: accessDenied, stranger: accessDenied} {
			got := w.must(t, user, py(`
import dbus
try:
    dbus.SystemBus().request_name("org.crypto_auditing.Broker", dbus.bus.NAME_FLAG_DO_NOT_QUEUE)
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

// The signals of a subscription do not come from the owner of the name, so the
// bus must prevent others from forging them.
func TestOnlyBrokerAndRootMaySendTheSignals(t *testing.T) {
	onEveryBus(t, func(t *testing.T, w *world) {
		for user, want := range map[string]string{root: "heard", brokers: "heard", member: "nothing", stranger: "nothing"} {
			for _, name := range []string{"org.crypto_auditing.Broker.Subscription.Events", "org.crypto_auditing.Broker.Appended"} {
				// The listener receives the second signal even if the bus rejects the first.
				got := w.must(t, root, py(`
import dbus, dbus.mainloop.glib, subprocess
from gi.repository import GLib
dbus.mainloop.glib.DBusGMainLoop(set_as_default=True)
bus, loop, heard = dbus.SystemBus(), GLib.MainLoop(), []
bus.add_signal_receiver(lambda *a, member: (heard.append(member), member == "Last" and loop.quit()),
                        path="/test", member_keyword="member")
for signal in ("`+name+`", "org.example.Test.Last"):
    subprocess.run(["setpriv", "--reuid", "`+user+`", "--clear-groups", "--regid", "`+user+`",
        "gdbus", "emit", "--system", "--object-path", "/test", "--signal", signal])
GLib.timeout_add_seconds(20, loop.quit)
loop.run()
print({1: "nothing", 2: "heard"}[len(heard)])
`)...)
				if strings.TrimSpace(got) != want {
					t.Errorf("%s by %s: %s, want %s", name, user, got, want)
				}
			}
		}
	})
}

func TestTheBrokerMayOnlyPingItsClients(t *testing.T) {
	onEveryBus(t, func(t *testing.T, w *world) {
		for method, want := range map[string]string{
			"org.freedesktop.DBus.Peer.Ping":                 "answered",
			"org.freedesktop.DBus.Peer.GetMachineId":         accessDenied,
			"org.freedesktop.DBus.Introspectable.Introspect": accessDenied,
		} {
			got := w.must(t, root, py(`
import dbus, dbus.service, dbus.mainloop.glib, subprocess
from gi.repository import GLib
dbus.mainloop.glib.DBusGMainLoop(set_as_default=True)
bus, loop = dbus.SystemBus(), GLib.MainLoop()
object = dbus.service.Object(bus, "/test")
caller = subprocess.Popen(["setpriv", "--reuid", "`+brokers+`", "--regid", "`+brokers+`", "--init-groups",
    "gdbus", "call", "--system", "--dest", bus.get_unique_name(), "--object-path", "/test", "--method", "`+method+`"],
    stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
GLib.child_watch_add(GLib.PRIORITY_DEFAULT, caller.pid, lambda *a: loop.quit())
loop.run()
answer = caller.stdout.read()
print("answered" if answer.startswith("(") else answer)
`)...)
			if !strings.Contains(got, want) {
				t.Errorf("%s: %s, want %s", method, got, want)
			}
		}
	})
}
