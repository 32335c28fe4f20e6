// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"strings"
	"syscall"
	"testing"

	"crypto-auditing/src/client"
)

// stopping subscribes many times on a few connections, from the beginning of the log, and
// stops itself, so that it reads nothing more.
const stopping = `
import dbus, os, signal, sys
name = "org.crypto_auditing.Broker"
empty = dbus.Dictionary({}, signature="sv")
for connection in range(4):
    bus = dbus.SystemBus(private=True)
    broker = bus.get_object(name, "/org/crypto_auditing/Broker")
    for n in range(int(sys.argv[1]) // 4):
        flow = ["auto", "acknowledge"][n % 2]
        broker.Subscribe("", empty, {"after": "oldest", "flow": flow}, dbus_interface=name)
print("subscribed", flush=True)
os.kill(os.getpid(), signal.SIGSTOP)
`

// nonReadingCaller makes calls with long replies on some connections, and never reads a
// reply. It prints a line after it has sent all calls that the bus accepts.
const nonReadingCaller = `
import os, socket, struct, sys, time
def text(code, kind, value):
    return code, kind, value.encode()
def string(value):
    return struct.pack("<I", len(value)) + value.encode() + b"\0"
def call(serial, flags, body, *fields):
    header = b""
    for code, kind, value in fields:
        header += b"\0" * (-len(header) % 8) + struct.pack("<BB", code, 1) + kind + b"\0"
        if kind == b"g":
            header += struct.pack("<B", len(value)) + value + b"\0"
        else:
            header += b"\0" * (-len(header) % 4) + struct.pack("<I", len(value)) + value + b"\0"
    message = struct.pack("<cBBBIII", b"l", 1, flags, 1, len(body), serial, len(header)) + header
    return message + b"\0" * (-len(message) % 8) + body
connections, method = int(sys.argv[2]), sys.argv[3]
name, path = text(6, b"s", "org.crypto_auditing.Broker"), text(1, b"o", "/org/crypto_auditing/Broker")
# The arguments of Read: oldest, an empty filter, 1,000 groups.
body = string("oldest")
body += b"\0" * (-len(body) % 4) + struct.pack("<I", 0)
body += b"\0" * (-len(body) % 8) + struct.pack("<I", 1000)
sockets = []
for n in range(connections):
    s = socket.socket(socket.AF_UNIX)
    s.connect(sys.argv[1])
    s.sendall(b"\0AUTH EXTERNAL " + str(os.getuid()).encode().hex().encode() + b"\r\n")
    assert s.recv(1000).startswith(b"OK")
    s.sendall(b"BEGIN\r\n" + call(1, 0, b"", text(1, b"o", "/org/freedesktop/DBus"), text(6, b"s", "org.freedesktop.DBus"),
        text(3, b"s", "Hello"), text(2, b"s", "org.freedesktop.DBus")))
    s.setblocking(False)
    sockets.append(s)
for n in range(120):
    for s in sockets:
        try:
            if method == "Read":
                s.send(call(2 + n, 0, body, path, name, text(3, b"s", "Read"), text(2, b"s", "org.crypto_auditing.Broker"), text(8, b"g", "sa{sv}u")))
            else:
                s.send(call(2 + n, 0, b"", path, name, text(3, b"s", "Introspect"), text(2, b"s", "org.freedesktop.DBus.Introspectable")))
        except BlockingIOError:
            pass
print("called", flush=True)
time.sleep(3600)
`

// Some clients of the same user and of others stop reading, with the maximum number of
// subscriptions and with unread replies. Other clients must still receive groups and replies.
func TestClientsThatDoNotReadDoNotBlockOthers(t *testing.T) {
	onEveryNewBusWithServices(t, func(t *testing.T, w *world) {
		// Enough entries for replies that exceed the limits of the bus.
		w.fire(t, 200)
		polkit := w.start(t, "polkitd", "/usr/bin/python3", "-c", silentPolkit)
		polkit.waitForOutput(t, "deaf")

		begin := w.fire(t, 1)
		c := w.connect(t)
		live, err := c.Subscribe(t.Context(), client.SubscribeOptions{After: begin})
		if err != nil {
			t.Fatal(err)
		}
		defer live.Close()
		follower := follower{t: t, s: live}
		printing := w.start(t, member, "/usr/bin/python3", examples+"subscribe.py")
		waitFor(t, "the live subscribers", func() bool {
			s, err := c.Status(t.Context())
			return err == nil && s.Attached == 2
		})
		cursor, err := c.Newest(t.Context())
		if err != nil {
			t.Fatal(err)
		}

		var attackers []*service
		for _, user := range []string{root, member} {
			// Stay below the limit of 128 subscriptions of a user, for the live subscriber.
			s := w.start(t, user, append(py(stopping), "124")...)
			s.waitForOutput(t, "subscribed")
			attackers = append(attackers, s)
		}
		for _, attack := range [][]string{
			{member, "12", "Read"}, {root, "12", "Read"}, {stranger, "20", "Introspect"}, {"other", "20", "Read"},
		} {
			s := w.start(t, attack[0], append(py(nonReadingCaller), busSocket, attack[1], attack[2])...)
			s.waitForOutput(t, "called")
			attackers = append(attackers, s)
		}

		for range 5 {
			last := w.fire(t, 100)
			follower.until(last)
			for _, user := range []string{root, member} {
				w.must(t, user, call("GetStatus")...)
				w.must(t, user, call("Read", "sa{sv}u", "oldest", "0", "1000")...)
				w.must(t, user, call("ListSubscriptions")...)
			}
			w.must(t, stranger, "busctl", "get-property", "org.crypto_auditing.Broker", "/org/crypto_auditing/Broker",
				"org.crypto_auditing.Broker", "Version")
		}
		if err := contiguous(follower.sequences, sequence(t, begin)+1, sequence(t, follower.cursor)); err != nil || len(follower.skipped) > 0 {
			t.Errorf("the live subscriber: %v, skipped %v", err, follower.skipped)
		}
		want := count(t, c, cursor, client.Filter{Contexts: []string{"tls::*"}})
		waitFor(t, "the other user's subscriber to receive all signals", func() bool {
			return strings.Count(printing.output.String(), "replay: ") >= want
		})
		for _, s := range attackers {
			s.signal(syscall.SIGKILL)
		}
		waitFor(t, "the broker to remove the subscriptions of the killed clients", func() bool {
			s, err := c.Status(t.Context())
			return err == nil && s.Attached == 2
		})
	})
}
