// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"crypto-auditing/src/client"
)

const examples = "/usr/share/doc/crypto-auditing/examples/"

// count counts the groups that pass a filter.
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
	onEveryBusWithServices(t, func(t *testing.T, w *world) {
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

func TestExamplesPrintRecentHandshakesAsATable(t *testing.T) {
	onEveryBusWithServices(t, func(t *testing.T, w *world) {
		watch := w.start(t, member, "/usr/bin/python3", examples+"watch.py")
		c := w.connect(t)
		waitFor(t, "the subscriber", func() bool {
			s, err := c.Status(t.Context())
			return err == nil && s.Attached >= 1
		})
		w.must(t, stranger, publisher, "--count", "3", opt+"/traces/gnutls-tls12.txt")
		w.must(t, stranger, publisher, "--count", "3", opt+"/traces/openssl-tls13-x25519.txt")
		query := []string{"crauctl", "query", "-q", "-r", "-n", "20", "--context", "tls::handshake", "-o", "cat"}
		want := lines(w.must(t, root, query...))
		for _, example := range [][]string{{"/usr/bin/python3", examples + "handshakes.py"}, {"bash", examples + "handshakes.sh"}} {
			var got []string
			// Operations are complete after some time without events.
			waitFor(t, "the handshakes that crauctl shows", func() bool {
				got, want = lines(w.must(t, member, example...)), lines(w.must(t, root, query...))
				return sameHandshakes(got, want)
			})
			for _, version := range []string{"TLS 1.2", "TLS 1.3"} {
				if !strings.Contains(strings.Join(got, "\n"), "replay\tclient\t"+version) {
					t.Errorf("%v prints no client of %s: %q", example, version, got)
				}
			}
		}
		waitFor(t, "the handshakes of the subscriber", func() bool {
			text := watch.output.String()
			return strings.Count(text, "replay\tclient\tTLS 1.2") >= 3 && strings.Count(text, "replay\tclient\tTLS 1.3") >= 3
		})
	})
}

// sameHandshakes reports whether the rows of the table and the lines of crauctl have the
// same handshakes, in any order.
func sameHandshakes(rows, lines []string) bool {
	unmatched := slices.Clone(lines)
	for _, row := range rows {
		i := slices.IndexFunc(unmatched, func(line string) bool { return sameHandshake(row, line) })
		if i < 0 {
			return false
		}
		unmatched = slices.Delete(unmatched, i, i+1)
	}
	return len(unmatched) == 0 && len(lines) > 0
}

// sameHandshake reports whether a row of the table and a line of crauctl have the same values.
func sameHandshake(row, line string) bool {
	columns := strings.Split(row, "\t")
	if len(columns) != 6 {
		return false
	}
	for _, column := range columns[2:] {
		if column != "-" && !strings.Contains(line, column) {
			return false
		}
	}
	return strings.Contains(line, "TLS 1.") == (columns[3] != "-") && strings.Contains(line, " client") == (columns[2] == "client")
}

func TestPythonReceivesAFileDescriptor(t *testing.T) {
	onEveryBusWithServices(t, func(t *testing.T, w *world) {
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

// Each of the example programs receives every group once, also over restarts of the broker.
// Their proxies accept only signals from the owner of the name.
func TestExamplesReceiveEventsOnceOverRestartsOfTheBroker(t *testing.T) {
	onEveryBusWithServices(t, func(t *testing.T, w *world) {
		cursor := w.fire(t, 1)
		c := w.connect(t)
		tls := client.Filter{Contexts: []string{"tls::*"}}
		w.must(t, member, call("Subscribe", "sa{sv}a{sv}", "example", "1", "contexts", "as", "1", "tls::*", "0")...)
		programs := map[string]*service{}
		for name, command := range map[string][]string{
			"dbus-python": {"/usr/bin/python3", examples + "subscribe.py"},
			"Gio":         {"/usr/bin/python3", examples + "subscribe-gio.py", "example"},
			"shell":       {"bash", examples + "follow.sh", string(cursor)},
		} {
			programs[name] = w.start(t, member, command...)
		}
		waitFor(t, "the subscribers", func() bool {
			s, err := c.Status(t.Context())
			return err == nil && s.Attached >= 2
		})
		programs["Gio"].waitForOutput(t, "attached")
		begin := cursor
		received := func(name string) int {
			return len(distinct(programs[name].output.String()))
		}
		for _, signal := range []string{"", "KILL", "TERM", "KILL"} {
			if signal != "" {
				w.endBroker(t, signal)
			}
			w.fire(t, 20)
			want := count(t, c, begin, tls)
			for name := range programs {
				waitFor(t, fmt.Sprintf("%d groups in %s, after signal %q", want, name, signal), func() bool { return received(name) >= want })
			}
		}
		want := count(t, c, begin, tls)
		for name, program := range programs {
			text := strings.TrimPrefix(program.output.String(), "attached\n")
			if n := len(lines(text)); n != want || received(name) != want {
				t.Errorf("%s printed %d lines, %d of them distinct, want %d", name, n, received(name), want)
			}
		}
		w.must(t, member, "crauctl", "subscriptions", "delete", "example")
	})
}

// distinct returns the distinct lines of a text that show groups.
func distinct(text string) map[string]bool {
	found := map[string]bool{}
	for line := range strings.Lines(text) {
		if strings.HasSuffix(line, "\n") && (strings.Contains(line, "replay: ") || strings.HasPrefix(line, "[")) {
			found[line] = true
		}
	}
	return found
}

func TestPythonSeesPropertiesAndTheirChanges(t *testing.T) {
	onEveryBusWithServices(t, func(t *testing.T, w *world) {
		w.fire(t, 1)
		// All properties, the signal Appended, and a filter with an unknown key.
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
def appended(newest, groups):
    # The rate of the signal is limited: it may still report earlier groups.
    if newest > properties["Newest"]:
        print("rang", groups > 0)
        loop.quit()
broker.connect_to_signal("Appended", appended, dbus_interface=name)
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
			"rang True",
			"org.crypto_auditing.Error.InvalidFilter",
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}
