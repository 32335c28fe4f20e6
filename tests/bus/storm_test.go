// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	// stormKills is the number of kills in each world.
	stormKills = 24
	// stormBatch is the maximum number of groups of a signal, which a kill may lose.
	stormBatch = 16
)

// supervise does what the service manager does: it makes the agent's socket once, and starts
// the agent whenever it has ended.
const supervise = `
import grp, os, socket, sys
path = sys.argv[1]
s = socket.socket(socket.AF_UNIX)
s.bind(path)
os.chown(path, 0, grp.getgrnam("crypto-auditing").gr_gid)
os.chmod(path, 0o660)
s.listen(128)
os.dup2(s.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS="1", LISTEN_FDNAMES="varlink")
os.execvp("sh", ["sh", "-c", 'while :; do sh -c "export LISTEN_PID=\\$\\$; exec \\"\\$@\\"" agent "$@"; sleep 0.02; done', "supervisor"] + sys.argv[2:])
`

// witness is a durable subscriber that shares no code with the services. It prints
// "E SEQUENCE CONTEXT VALUES" for each group and "S FROM TO" for skipped groups, and
// subscribes again when the broker has ended.
const witness = `
import dbus, dbus.mainloop.glib, sys, time
from gi.repository import GLib
dbus.mainloop.glib.DBusGMainLoop(set_as_default=True)
bus, name = dbus.SystemBus(), "org.crypto_auditing.Broker"

def events(groups, cursor):
    for sequence, context, start, end, attributes, data in groups:
        print("E", sequence, context, len(data))
    sys.stdout.flush()

def skipped(before, now, groups, reason):
    print("S", int(before[33:], 16), int(now[33:], 16), flush=True)

def subscribe():
    options = {"batch": dbus.UInt32(%d), "after": "oldest"}
    while True:
        try:
            call = bus.call_blocking(name, "/org/crypto_auditing/Broker", name, "Subscribe", "sa{sv}a{sv}",
                ("witness", {}, options))
            print("subscribed", flush=True)
            return False
        except dbus.DBusException as e:
            if e.get_dbus_name().endswith("SubscriptionExists"):
                options.pop("after", None)
            else:
                print("error", e, flush=True)
            time.sleep(0.02)

def owner(changed, old, new):
    if changed == name and not new:
        GLib.timeout_add(1, subscribe)

bus.add_signal_receiver(events, "Events", name + ".Subscription")
bus.add_signal_receiver(skipped, "Skipped", name + ".Subscription")
bus.add_signal_receiver(owner, "NameOwnerChanged", "org.freedesktop.DBus", arg0=name)
subscribe()
GLib.MainLoop().run()
`

// received has the groups that the witnesses printed.
type received struct {
	groups  map[uint64]string // "CONTEXT VALUES" by sequence
	last    uint64
	skipped uint64
}

// read adds the output of a witness. Sequences must increase across all witnesses.
func (s *received) read(t *testing.T, printed string) {
	t.Helper()
	for line := range strings.Lines(printed) {
		if !strings.HasSuffix(line, "\n") {
			return // the witness was killed during the write
		}
		var first, second uint64
		var context string
		if n, _ := fmt.Sscanf(line, "S %d %d", &first, &second); n == 2 {
			s.skipped += second - first
			s.last = max(s.last, second)
			continue
		}
		var values int
		if n, _ := fmt.Sscanf(line, "E %d %s %d", &first, &context, &values); n == 3 {
			if first <= s.last {
				t.Errorf("group %d was sent after %d", first, s.last)
			}
			s.last = first
			s.groups[first] = fmt.Sprint(context, " ", values)
		}
	}
}

// readByOther returns the groups of the log, read with tests/readlog.py, which must find no
// error: sequences without gaps, and an unbroken chain.
func (w *world) readByOther(t *testing.T) map[uint64]string {
	t.Helper()
	command := exec.Command("python3", "../readlog.py", w.Path(logDir))
	var notes strings.Builder
	command.Stderr = &notes
	output, err := command.Output()
	if err != nil {
		t.Fatalf("the log is not intact: %v\n%s", err, notes.String())
	}
	t.Logf("the log: %s", strings.TrimSpace(notes.String()))
	groups := map[uint64]string{}
	for line := range strings.Lines(string(output)) {
		var entry struct {
			Seq   uint64
			Group struct {
				Context string
				Events  []map[string]any
			}
		}
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatal(err)
		}
		values := 0
		for _, e := range entry.Group.Events {
			if _, ok := e["Data"]; ok {
				values++
			}
		}
		groups[entry.Seq] = fmt.Sprint(entry.Group.Context, " ", values)
	}
	return groups
}

func TestTheLogIsIntactAndDeliveredAtMostOnceAfterManyKills(t *testing.T) {
	onEveryNewBus(t, func(t *testing.T, w *world) {
		const capabilities = "-all,+bpf,+perfmon"
		w.withoutSockets(t)
		w.agent = w.launch(t, root, "/usr/bin/python3", "-c", supervise, agentPath,
			"setpriv", "--reuid", "crypto-auditing", "--regid", "crypto-auditing", "--init-groups",
			"--inh-caps="+capabilities, "--ambient-caps="+capabilities, "--bounding-set="+capabilities,
			"crau-agent", "--config", withoutSockets, "--library", publisher, "--coalesce-window", "20ms")
		waitForAgent := func() {
			waitFor(t, "an agent that records", func() bool { return w.as(t, root, "crauctl", "flush").code == 0 })
		}
		waitForAgent()
		w.startBroker(t)
		// The publisher fires until the end of the storm.
		w.start(t, stranger, "sh", "-c", "while :; do "+publisher+" --count 5 --fresh-ids "+opt+"/traces/gnutls-tls13-p256.txt >/dev/null; done")

		script := fmt.Sprintf(witness, stormBatch)
		startWitness := func() *service {
			s := w.start(t, member, "/usr/bin/python3", "-c", script)
			s.waitForOutput(t, "subscribed")
			return s
		}
		subscriber := startWitness()
		all := received{groups: map[uint64]string{}}
		killed := map[string]int{}
		for range stormKills {
			time.Sleep(time.Duration(rand.IntN(200)) * time.Millisecond)
			switch rand.IntN(4) {
			case 0:
				killed["subscriber"]++
				subscriber.signal(syscall.SIGKILL)
				<-subscriber.exited
				all.read(t, subscriber.output.String())
				subscriber = startWitness()
			case 1:
				killed["broker"]++
				w.as(t, root, "pkill", "-KILL", "-x", "crau-broker")
			case 2:
				killed["agent"]++
				w.as(t, root, "pkill", "-KILL", "-x", "crau-agent")
			default:
				killed["broker"]++
				killed["agent"]++
				w.as(t, root, "pkill", "-KILL", "-x", "crau-agent|crau-broker")
			}
		}
		t.Logf("killed: %v", killed)
		waitForAgent()
		last := sequence(t, w.fire(t, 50))
		waitFor(t, "the subscriber to receive the last group", func() bool {
			current := received{groups: map[uint64]string{}, last: 0}
			current.read(t, subscriber.output.String())
			return current.last >= last
		})
		w.as(t, root, "pkill", "-KILL", "-f", "while :; do "+publisher)
		subscriber.signal(syscall.SIGKILL)
		<-subscriber.exited
		all.read(t, subscriber.output.String())

		// Kill the agent again, so that it does not write while readlog.py reads.
		w.agent.signal(syscall.SIGKILL)
		w.as(t, root, "pkill", "-KILL", "-x", "crau-agent")
		log := w.readByOther(t)
		missing := uint64(0)
		for n := uint64(1); n <= last; n++ {
			group, sent := all.groups[n]
			switch {
			case log[n] == "":
				t.Fatalf("group %d of %d is not in the log", n, last)
			case !sent:
				missing++
			case group != log[n] && !strings.HasPrefix(log[n], strings.Repeat("0", 32)):
				t.Errorf("group %d was sent as %s, the log has %s", n, group, log[n])
			}
		}
		most := all.skipped + stormBatch*uint64(killed["broker"]+killed["subscriber"])
		t.Logf("%d groups, %d of them sent, %d reported as skipped", last, len(all.groups), all.skipped)
		if missing > most {
			t.Errorf("%d of %s groups were not sent; the kills may lose %d", missing, strconv.FormatUint(last, 10), most)
		}
		if output := w.as(t, root, "crauctl", "verify", "--directory", logDir); output.code != 0 {
			t.Errorf("crauctl verify: exit code %d\n%s%s", output.code, output.stdout, output.stderr)
		}
	})
}
