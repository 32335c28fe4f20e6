// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"slices"
	"strings"
	"testing"

	"crypto-auditing/src/client"
)

const examples = "/usr/share/doc/crypto-auditing/examples/"

// count counts the groups of a filter.
func count(t *testing.T, c *client.Client, after client.Cursor, f client.Filter) (n int) {
	t.Helper()
	for _, err := range c.Groups(t.Context(), after, f) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	return n
}

func TestPythonReadsPages(t *testing.T) {
	onEveryScene(t, func(t *testing.T, w *world) {
		w.fire(t, 200)
		got := lines(w.must(t, member, "/usr/bin/python3", examples+"read.py"))
		want := count(t, w.connect(t), client.Oldest, client.Filter{Contexts: []string{"tls::*"}})
		// Notices pass, too.
		replayed := slices.ContainsFunc(got, func(line string) bool { return strings.Contains(line, "replay: ") })
		if len(got) != want || !replayed {
			t.Errorf("%d lines, want %d; the first is %q", len(got), want, got[0])
		}
	})
}

func TestPythonGetsADescriptor(t *testing.T) {
	onEveryScene(t, func(t *testing.T, w *world) {
		w.fire(t, 10)
		want := w.log(t)
		got := decode(t, []byte(w.must(t, member, "/usr/bin/python3", examples+"stream.py")))
		if len(got) < len(want) {
			t.Fatalf("%d entries, want %d", len(got), len(want))
		}
		for i := range want {
			if got[i].text() != want[i].text() {
				t.Fatalf("entry %d is %s, want %s", i+1, got[i].text(), want[i].text())
			}
		}
	})
}

func TestPythonHearsSignals(t *testing.T) {
	onEveryScene(t, func(t *testing.T, w *world) {
		c := w.connect(t)
		attached := func() (n uint64) {
			s, err := c.Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return s.Attached
		}
		before := attached()
		subscriber := w.start(t, member, "/usr/bin/python3", examples+"subscribe.py")
		waitFor(t, "the subscriber", func() bool { return attached() == before+1 })
		cursor, err := c.Newest(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		w.fire(t, 50)
		want := count(t, c, cursor, client.Filter{Contexts: []string{"tls::*"}})
		waitFor(t, "the signals", func() bool { return strings.Count(subscriber.says.String(), "\n") >= want })
		if got := strings.Count(subscriber.says.String(), "replay: "); got != want {
			t.Errorf("%d groups were heard, want %d", got, want)
		}
	})
}

func TestPythonSeesPropertiesAndTheirChanges(t *testing.T) {
	onEveryScene(t, func(t *testing.T, w *world) {
		w.fire(t, 1)
		// All properties, the doorbell, and what a strange key does.
		got := lines(w.must(t, member, py(`
import dbus, dbus.mainloop.glib, subprocess
from gi.repository import GLib
dbus.mainloop.glib.DBusGMainLoop(set_as_default=True)
bus, loop = dbus.SystemBus(), GLib.MainLoop()
name, path = "org.crypto_auditing.Broker", "/org/crypto_auditing/Broker"
broker = bus.get_object(name, path)
everything = dbus.Dictionary({}, signature="sv")
broker.Subscribe("", everything, everything, dbus_interface=name)
properties = broker.GetAll(name, dbus_interface="org.freedesktop.DBus.Properties")
print(" ".join(sorted(properties)))
def rang(newest, groups):
    print("rang", newest > properties["Newest"], groups > 0)
    loop.quit()
broker.connect_to_signal("Appended", rang, dbus_interface=name)
subprocess.Popen(["`+publisher+`", "--count", "1", "`+opt+`/traces/gnutls-tls13-p256.txt"], stdout=subprocess.DEVNULL)
GLib.timeout_add_seconds(20, loop.quit)
loop.run()
try:
    broker.Read("oldest", {"colour": "red"}, dbus.UInt32(1), dbus_interface=name)
except dbus.DBusException as e:
    print(e.get_dbus_name())
`)...))
		want := []string{
			"AgentActive DiskUsage EventsLost InterfaceVersion Newest Oldest Version",
			"rang True True",
			"org.crypto_auditing.Error.InvalidFilter",
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}
