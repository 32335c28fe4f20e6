// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"crypto-auditing/src/client"
)

// passSocket does what systemd does for a socket unit: it makes the socket, passes it and
// executes the program.
const passSocket = `
import grp, os, socket, sys
path, name = sys.argv[1], sys.argv[2]
s = socket.socket(socket.AF_UNIX)
s.bind(path)
os.chown(path, 0, grp.getgrnam("crypto-auditing").gr_gid)
os.chmod(path, 0o660)
s.listen(128)
os.dup2(s.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES=name)
os.execvp(sys.argv[3], sys.argv[3:])
`

// publisher is the program whose probes the agent of a world records.
const publisher = opt + "/replay"

// record starts the agent and the broker, which run as long as the world.
func (w *world) record(t *testing.T) {
	t.Helper()
	if w.agent == nil {
		w.startAgent(t)
		w.startBroker(t)
	}
}

// startAgent starts the agent with an empty configuration.
func (w *world) startAgent(t *testing.T) {
	t.Helper()
	w.startAgentOn(t, "/dev/null")
}

// withoutSockets is a configuration that does not record other programs of the machine.
const withoutSockets = "/etc/without-sockets.conf"

func (w *world) withoutSockets(t *testing.T) {
	t.Helper()
	if err := os.WriteFile(w.Path(withoutSockets), []byte("sources = [\"usdt\"]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}

// startAgentOn starts the agent with a configuration.
func (w *world) startAgentOn(t *testing.T, config string) {
	t.Helper()
	w.withoutSockets(t)
	w.startAgentWith(t, "--config", config, "--config", withoutSockets, "--library", publisher)
}

// startAgentWith starts the agent with options.
func (w *world) startAgentWith(t *testing.T, options ...string) {
	t.Helper()
	const capabilities = "-all,+bpf,+perfmon,+lease"
	w.agent = w.launch(t, root, append([]string{
		"/usr/bin/python3", "-c", passSocket, agentPath, "varlink",
		"setpriv", "--reuid", "crypto-auditing", "--regid", "crypto-auditing", "--init-groups",
		"--inh-caps=" + capabilities, "--ambient-caps=" + capabilities, "--bounding-set=" + capabilities,
		"crau-agent", "--coalesce-window", "20ms",
	}, options...)...)
	w.agent.waitForOutput(t, "msg=recording")
}

// restartAgent stops the agent and starts it again.
func (w *world) restartAgent(t *testing.T) {
	t.Helper()
	w.agent.signal(syscall.SIGTERM)
	<-w.agent.exited
	w.must(t, root, "rm", agentPath)
	w.startAgent(t)
}

// startBroker waits until the broker serves. On dbus-broker, which cannot start it here, a
// loop starts it whenever it has exited.
func (w *world) startBroker(t *testing.T) {
	t.Helper()
	if w.daemon == "dbus-broker" {
		w.restarter = w.launch(t, brokers, "sh", "-c", "while :; do crau-broker; sleep 0.05; done")
	}
	waitFor(t, "the broker", func() bool {
		return w.as(t, root, "busctl", "get-property", "org.crypto_auditing.Broker", "/org/crypto_auditing/Broker",
			"org.crypto_auditing.Broker", "Version").code == 0
	})
}

// onEveryBusWithServices is onEveryBus with a recording agent and a broker.
func onEveryBusWithServices(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	onEveryBus(t, func(t *testing.T, w *world) {
		defer w.logOnFailure(t)
		w.record(t)
		test(t, w)
	})
}

// onEveryNewBusWithServices is onEveryBusWithServices in new worlds for this test.
func onEveryNewBusWithServices(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	onEveryNewBus(t, func(t *testing.T, w *world) {
		w.record(t)
		test(t, w)
	})
}

// onEveryNewBus is onEveryBus in new worlds for this test.
func onEveryNewBus(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	needWorlds(t)
	for _, daemon := range daemons {
		t.Run(daemon, func(t *testing.T) {
			w, err := shared.create(daemon)
			if err != nil {
				t.Fatal(err)
			}
			defer w.end()
			defer w.logOnFailure(t)
			test(t, w)
		})
	}
}

// logOnFailure logs the output of the services if the test has failed.
func (w *world) logOnFailure(t *testing.T) {
	t.Helper()
	if !t.Failed() {
		return
	}
	t.Logf("the bus printed:\n%s", w.busOutput)
	if w.agent != nil {
		t.Logf("the agent printed:\n%s", w.agent.output)
	}
	if w.restarter != nil {
		t.Logf("the broker printed:\n%s", w.restarter.output)
	}
}

// fire replays n handshakes with the publisher and waits until they are in the log. It
// returns the cursor after them.
func (w *world) fire(t *testing.T, n int) client.Cursor {
	t.Helper()
	w.must(t, stranger, publisher, "--count", strconv.Itoa(n), "--fresh-ids", opt+"/traces/gnutls-tls13-p256.txt")
	text := w.must(t, root, "crauctl", "flush")
	return client.Cursor(strings.TrimSpace(text))
}

// connect connects a Go client as root.
func (w *world) connect(t *testing.T) *client.Client {
	t.Helper()
	c, err := client.Connect(t.Context(), client.WithAddress(w.address()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// killBroker kills the broker. If the bus cannot start it again, killBroker waits until the
// restarter has.
func (w *world) killBroker(t *testing.T) {
	t.Helper()
	w.endBroker(t, "KILL")
}

// endBroker is killBroker with another signal.
func (w *world) endBroker(t *testing.T, signal string) {
	t.Helper()
	before := w.owner(t)
	w.must(t, root, "pkill", "-"+signal, "-x", "crau-broker")
	waitFor(t, "the broker to be replaced", func() bool {
		owner := w.owner(t)
		return owner != before && (owner != "" || w.restarter == nil)
	})
}

// owner returns the unique name of the broker's connection, "" if it is not connected.
func (w *world) owner(t *testing.T) string {
	t.Helper()
	r := w.as(t, root, "busctl", "call", "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus",
		"GetNameOwner", "s", "org.crypto_auditing.Broker")
	if r.code != 0 {
		return ""
	}
	return r.stdout
}

// logEntry is an entry of the log, decoded independently of the project.
type logEntry struct {
	Context    []byte           `cbor:"context"`
	Start      uint64           `cbor:"start"`
	Name       string           `cbor:"name"`
	Executable []byte           `cbor:"executable"`
	Events     []map[string]any `cbor:"events"`
	// Sequence and Boot are only present in streams.
	Sequence uint64 `cbor:"seq"`
	Boot     int64  `cbor:"boot"`
}

// log returns all entries of the log, decompressed by zstd and decoded by the CBOR library.
// The first has the sequence 1, because nothing was removed.
func (w *world) log(t *testing.T) []logEntry {
	t.Helper()
	files, err := filepath.Glob(w.Path(logDir + "/*.zst"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no log: %v", err)
	}
	// The names of segments sort by sequence. zstd fails at the incomplete frame that is
	// being written.
	output, _ := exec.Command("zstd", append([]string{"-dcq"}, files...)...).Output()
	return decode(t, output)
}

func decode(t *testing.T, sequence []byte) []logEntry {
	t.Helper()
	var entries []logEntry
	for d := cbor.NewDecoder(bytes.NewReader(sequence)); d.NumBytesRead() < len(sequence); {
		var e logEntry
		if err := d.Decode(&e); err != nil {
			t.Fatalf("at byte %d: %v", d.NumBytesRead(), err)
		}
		entries = append(entries, e)
	}
	return entries
}

// text describes an entry, for comparison.
func (e *logEntry) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%x %s %s:", e.Context, e.Name, e.Executable)
	for _, event := range e.Events {
		if opened, ok := event["NewContext"].(map[any]any); ok {
			fmt.Fprintf(&b, " in %x", opened["parent"])
		} else {
			data := event["Data"].(map[any]any)
			fmt.Fprintf(&b, " %v=%v", data["key"], data["value"])
		}
	}
	return b.String()
}

// textOf describes a group of the client in the same way.
func textOf(g *client.Group) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s:", g.Context, g.Name, g.Executable)
	if g.Opens {
		fmt.Fprintf(&b, " in %s", g.Parent)
	}
	for _, d := range g.Data {
		fmt.Fprintf(&b, " %s=%v", d.Key, d.Value)
	}
	return b.String()
}
