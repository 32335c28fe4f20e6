// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"encoding/json"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestCrauctlShowsTheSameFromTheBrokerAndTheDirectory(t *testing.T) {
	onEveryBusWithServices(t, func(t *testing.T, w *world) {
		w.must(t, stranger, publisher, "--count", "3", opt+"/traces/gnutls-tls12.txt")
		w.must(t, stranger, publisher, "--count", "3", opt+"/traces/openssl-tls13-x25519.txt")
		w.fire(t, 30)
		for name, arguments := range map[string][]string{
			"lines":           nil,
			"JSON":            {"-o", "json"},
			"a JSON array":    {"-o", "json-pretty"},
			"entries":         {"-o", "cbor"},
			"the newest":      {"-n", "5"},
			"newest, reverse": {"-n", "5", "-r"},
			"all, reverse":    {"-r"},
			"a program":       {"--executable", "replay", "-n", "3"},
			"another program": {"--executable", "curl"},
			"a match":         {"tls::protocol_version=TLS 1.2"},
			"a context":       {"--context", "tls::key_exchange", "-o", "cat"},
			"since":           {"--since", "-1h"},
			"until":           {"--until", "yesterday"},
			"a cursor":        {"--after-cursor", "oldest", "--show-cursor"},
			"a boot":          {"-b", "0"},
			"boot, reverse":   {"-b", "1", "-r"},
			"match in a boot": {"-b", "0", "tls::protocol_version=TLS 1.2"},
			"the boots":       {"--list-boots"},
		} {
			want := w.must(t, root, append([]string{"crauctl", "query", "-q", "--directory", logDir}, arguments...)...)
			got := w.must(t, member, append([]string{"crauctl", "query", "-q"}, arguments...)...)
			if got != want {
				t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
			}
		}
		for _, option := range []string{"--executable", "--unit", "--boot"} {
			want := w.as(t, root, "crauctl", "__complete", "query", "--directory", logDir, option, "").stdout
			got := w.as(t, member, "crauctl", "__complete", "query", option, "").stdout
			if got != want || strings.HasPrefix(got, ":") && option != "--unit" {
				t.Errorf("the completions of %s are %q, want those of the directory, %q", option, got, want)
			}
		}
		cursor := w.must(t, root, "crauctl", "query", "-n", "1", "-o", "cat", "--show-cursor")
		cursor = strings.TrimSpace(cursor[strings.LastIndex(cursor, "-- cursor: ")+len("-- cursor: "):])
		w.fire(t, 2)
		// Each replay has four operations.
		if got := lines(w.must(t, root, "crauctl", "query", "--after-cursor", cursor, "-o", "cat")); len(got) != 8 {
			t.Errorf("crauctl shows %d operations after the cursor, want 8: %q", len(got), got)
		}
	})
}

// emptyLog is the output of crauctl for a log without entries and without an agent.
const emptyLog = "-- No operations --\ncrauctl: the log is empty\n" +
	"crauctl: the agent is stopped: start it by systemctl start crypto-auditing-agent.service\n"

func TestCrauctlReportsAnEmptyLog(t *testing.T) {
	onEveryNewBus(t, func(t *testing.T, w *world) {
		w.startBroker(t)
		for _, arguments := range [][]string{{"query"}, {"query", "-n", "1"}} {
			r := w.as(t, root, append([]string{"crauctl"}, arguments...)...)
			if r.code != 0 || r.stdout != "" || r.stderr != emptyLog {
				t.Errorf("%v: exit code %d, output %q, errors %q", arguments, r.code, r.stdout, r.stderr)
			}
		}
	})
}

func TestCrauctlMonitorContinuesWithAnotherBroker(t *testing.T) {
	onEveryBusWithServices(t, func(t *testing.T, w *world) {
		w.fire(t, 5) // not shown, because monitor starts later
		streams := func() int {
			var status struct{ Broker struct{ Streams int } }
			if err := json.Unmarshal([]byte(w.must(t, root, "crauctl", "status", "-o", "json")), &status); err != nil {
				t.Fatal(err)
			}
			return status.Broker.Streams
		}
		before := streams()
		monitors := map[string]*service{}
		for _, form := range []string{"short", "json", "json-seq", "json-pretty", "cat"} {
			monitors[form] = w.start(t, member, "crauctl", "monitor", "-o", form, "--context", "tls::handshake")
		}
		waitFor(t, "the monitors", func() bool { return streams() == before+len(monitors) })
		w.fire(t, 1)
		for form, m := range monitors {
			waitFor(t, form, func() bool { return strings.Contains(m.output.String(), "handshake") })
		}
		w.killBroker(t)
		w.fire(t, 1)
		for form, m := range monitors {
			waitFor(t, form+" after the restart", func() bool { return strings.Count(m.output.String(), "tls::handshake") >= 8 })
			m.signal(syscall.SIGINT)
			<-m.exited
			if code := m.command.ProcessState.ExitCode(); code != 130 {
				t.Errorf("%s: exit code %d: %v", form, code, m.err)
			}
			if n := strings.Count(m.output.String(), "tls::handshake"); n != 8 {
				t.Errorf("%s shows %d handshakes, want 8:\n%s", form, n, m.output)
			}
		}
		if !json.Valid([]byte(monitors["json-pretty"].output.String())) {
			t.Errorf("the output is not JSON:\n%s", monitors["json-pretty"].output)
		}
	})
}

func TestCrauctlFollowsTheNewestOperations(t *testing.T) {
	onEveryBusWithServices(t, func(t *testing.T, w *world) {
		w.fire(t, 20)
		time.Sleep(3 * time.Second) // so that they are complete after 2 s without an event
		f := w.start(t, root, "crauctl", "query", "-f", "-n", "3", "-o", "cat")
		waitFor(t, "the newest", func() bool { return strings.Count(f.output.String(), "\n") >= 3 })
		w.fire(t, 1)
		waitFor(t, "the new operations", func() bool { return strings.Count(f.output.String(), "\n") >= 7 })
		f.signal(syscall.SIGINT)
		<-f.exited
		if n := strings.Count(f.output.String(), "\n"); n != 7 || f.command.ProcessState.ExitCode() != 130 {
			t.Errorf("%d operations are shown, %v:\n%s", n, f.err, f.output)
		}
	})
}

func TestCrauctlListsAndDeletesSubscriptions(t *testing.T) {
	onEveryBusWithServices(t, func(t *testing.T, w *world) {
		if got := w.must(t, member, "crauctl", "subscriptions"); got != "There are no subscriptions.\n" {
			t.Errorf("before subscribing: %q", got)
		}
		for _, name := range []string{"b", "a"} {
			w.must(t, member, call("Subscribe", "sa{sv}a{sv}", name, "1", "contexts", "as", "2", "tls::*", "pk::sign", "0")...)
		}
		got := lines(w.must(t, member, "crauctl", "subscriptions"))
		if len(got) != 3 || !strings.HasPrefix(got[0], "NAME") || !strings.HasPrefix(got[1], "a ") || !strings.HasPrefix(got[2], "b ") ||
			!strings.Contains(got[1], " member ") || !strings.HasSuffix(got[1], "contexts=tls::*,pk::sign") {
			t.Errorf("the subscriptions are listed as\n%s", strings.Join(got, "\n"))
		}
		var first struct {
			Name     string
			User     uint32
			Attached bool
			Filter   map[string][]string
		}
		text := lines(w.must(t, root, "crauctl", "subscriptions", "-o", "json"))[0]
		if err := json.Unmarshal([]byte(text), &first); err != nil || first.Name != "a" || first.User == 0 || first.Attached || len(first.Filter["contexts"]) != 2 {
			t.Errorf("as root, in JSON: %s, %v", text, err)
		}
		if got := w.as(t, member, "crauctl", "__complete", "subscriptions", "delete", "").stdout; !strings.Contains(got, "a\n") || !strings.Contains(got, "b\n") {
			t.Errorf("completions: %q", got)
		}
		if r := w.as(t, root, "crauctl", "subscriptions", "delete", "a"); r.code != 1 || !strings.Contains(r.stderr, "no such subscription") {
			t.Errorf("deleting as root, who has no subscription of this name: exit code %d, %s", r.code, r.stderr)
		}
		w.must(t, root, "crauctl", "subscriptions", "delete", "--user", "member", "a")
		if r := w.as(t, member, "crauctl", "subscriptions", "delete", "a", "b"); r.code != 1 || strings.Count(r.stderr, "\n") != 1 {
			t.Errorf("deleting a missing and an existing one: exit code %d, %s", r.code, r.stderr)
		}
		if got := w.must(t, member, "crauctl", "subscriptions"); got != "There are no subscriptions.\n" {
			t.Errorf("after deleting: %q", got)
		}
	})
}

func TestCrauctlVacuums(t *testing.T) {
	onEveryBusWithServices(t, func(t *testing.T, w *world) {
		if got := w.must(t, root, "crauctl", "vacuum", "--vacuum-time", "10y"); got != "nothing to remove\n" {
			t.Errorf("crauctl vacuum with nothing to remove printed %q", got)
		}
	})
}

func TestCrauctlReportsTheRequiredPermission(t *testing.T) {
	onEveryBusWithServices(t, func(t *testing.T, w *world) {
		for name, arguments := range map[string][]string{
			"query":         {"query"},
			"monitor":       {"monitor"},
			"subscriptions": {"subscriptions"},
		} {
			r := w.as(t, stranger, append([]string{"crauctl"}, arguments...)...)
			if r.code != 3 || r.stdout != "" || r.stderr != "crauctl: not authorised: join the group crypto-auditing or use sudo\n" {
				t.Errorf("%s: exit code %d, %q, %q", name, r.code, r.stdout, r.stderr)
			}
		}
		for _, user := range []string{member, stranger} {
			r := w.as(t, user, "crauctl", "vacuum")
			if r.code != 3 || r.stdout != "" || r.stderr != "crauctl: not authorised to remove a part of the log: use sudo\n" {
				t.Errorf("vacuum by %s: exit code %d, %q, %q", user, r.code, r.stdout, r.stderr)
			}
		}
	})
}

func TestCrauctlShowsTheWholeStatus(t *testing.T) {
	onEveryBusWithServices(t, func(t *testing.T, w *world) {
		w.fire(t, 1)
		got := w.must(t, member, "crauctl", "status")
		for _, want := range []string{"● crau-agent ", "recording 1 library", "● crau-broker ", "serving since ", " subscription"} {
			if !strings.Contains(got, want) {
				t.Errorf("the status does not contain %q:\n%s", want, got)
			}
		}
	})
}
