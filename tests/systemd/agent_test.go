// SPDX-License-Identifier: Apache-2.0

package systemd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	throwaway "crypto-auditing/tests/machine"
)

const (
	service = "crypto-auditing-agent.service"
	socket  = "crypto-auditing-agent.socket"

	socketPath = "/run/crypto-auditing/org.cryptoauditing.Agent"
	logDir     = "/var/log/crypto-auditing"
	dropIns    = "/etc/systemd/system/" + service + ".d"

	library = opt + "/libreplay.so"
	trace   = opt + "/traces/gnutls-tls13-p256.txt"
)

// The users as which commands run: arguments of setpriv(1).
var (
	asRoot     = []string{"--clear-groups"}
	asMember   = []string{"--reuid=nobody", "--regid=nogroup", "--groups=crypto-auditing"}
	asStranger = []string{"--reuid=nobody", "--regid=nogroup", "--clear-groups"}
)

// agent is the installed agent on the machine.
type agent struct {
	*machine
	// cursor is the end of the journal when the test began.
	cursor string
}

// installed returns the agent as it is after installation, stopped and with an
// empty log, its socket listening. config is the text of its configuration,
// units are drop-ins of its service.
func installed(t *testing.T, config string, units ...string) *agent {
	t.Helper()
	a := &agent{machine: needMachine(t)}
	// A running broker would start the agent again.
	a.run(t, "systemctl", "stop", brokerService)
	a.run(t, "systemctl", "stop", service, socket)
	for _, dir := range []string{"/etc/crypto-auditing", dropIns, logDir} {
		if err := os.RemoveAll(a.path(dir)); err != nil {
			t.Fatal(err)
		}
	}
	a.write(t, "/etc/crypto-auditing/agent.conf", config)
	for i, text := range units {
		a.write(t, filepath.Join(dropIns, fmt.Sprintf("%d.conf", i)), text)
	}
	a.run(t, "systemctl", "daemon-reload")
	a.run(t, "systemctl", "reset-failed")
	a.run(t, "systemctl", "start", socket)
	for line := range strings.Lines(a.run(t, "journalctl", "-n", "0", "--show-cursor")) {
		if cursor, ok := strings.CutPrefix(line, "-- cursor: "); ok {
			a.cursor = strings.TrimSpace(cursor)
		}
	}
	if a.cursor == "" {
		t.Fatal("the journal has no cursor")
	}
	t.Cleanup(func() {
		if t.Failed() {
			output, _ := a.command("journalctl", "--after-cursor", a.cursor, "-o", "short-monotonic").CombinedOutput()
			t.Logf("the journal:\n%s", output)
		}
	})
	return a
}

// recording is installed and started.
func recording(t *testing.T, config string, units ...string) *agent {
	t.Helper()
	a := installed(t, config, units...)
	a.run(t, "systemctl", "start", service)
	return a
}

// libraries is a configuration that records some files, and no other program of
// the machine.
func libraries(files ...string) string {
	quoted := make([]string, len(files))
	for i, file := range files {
		quoted[i] = strconv.Quote(file)
	}
	return fmt.Sprintf("library = [%s]\nsources = [\"usdt\"]\n", strings.Join(quoted, ", "))
}

// pid returns the process of the running agent.
func (a *agent) pid(t *testing.T) string { return a.property(t, service, "MainPID") }

// active reports whether the service runs.
func (a *agent) active(t *testing.T) bool { return a.property(t, service, "ActiveState") == "active" }

// restarts returns the number of restarts of the service.
func (a *agent) restarts(t *testing.T) string { return a.property(t, service, "NRestarts") }

// status returns a line of the process's /proc/PID/status.
func (a *agent) status(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(a.path("/proc/" + a.pid(t) + "/status"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.Join(strings.Fields(value), " ")
		}
	}
	t.Fatalf("/proc/PID/status has no %s", name)
	return ""
}

// journal returns the messages of the agent's unit, and of the service manager about it, since
// the test began.
func (a *agent) journal(t *testing.T) []string {
	t.Helper()
	return a.journalOf(t, service)
}

// journalOf is journal for any units.
func (a *agent) journalOf(t *testing.T, units ...string) (lines []string) {
	t.Helper()
	var arguments []string
	for _, unit := range units {
		arguments = append(arguments, "-u", unit)
	}
	for _, entry := range a.entries(t, arguments...) {
		lines = append(lines, entry["MESSAGE"])
	}
	return lines
}

// entries returns the entries of the journal since the test began that match
// arguments of journalctl(1).
func (a *agent) entries(t *testing.T, arguments ...string) []throwaway.Entry {
	t.Helper()
	// Makes the journal read all earlier messages.
	a.run(t, "journalctl", "--sync")
	// --after-cursor of systemd 252 skips the first matching entry, unless the entry
	// at the cursor also matches.
	text := a.run(t, slices.Concat([]string{"journalctl", "--cursor", a.cursor, "-o", "json"}, arguments)...)
	entries, err := throwaway.ParseJournal(text)
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(entries, func(e throwaway.Entry) bool { return e["__CURSOR"] == a.cursor })
}

// checkNoComplaints checks that a service has written no messages with priority warning
// or above, except those with some subjects. Messages of the service manager are ignored.
func (a *agent) checkNoComplaints(t *testing.T, unit string, except ...string) {
	t.Helper()
	allowed := map[string]bool{}
	for _, subject := range except {
		allowed[messageID(t, subject)] = true
	}
	for _, entry := range a.entries(t, "-u", unit, "-p", "warning") {
		if entry["SYSLOG_IDENTIFIER"] == "systemd" || allowed[entry["MESSAGE_ID"]] {
			continue
		}
		t.Errorf("%s complains: %s", unit, entry["MESSAGE"])
	}
}

// journalHas reports whether a line of the journal contains all texts.
func (a *agent) journalHas(t *testing.T, texts ...string) bool {
	t.Helper()
	return slices.ContainsFunc(a.journal(t), func(line string) bool {
		for _, text := range texts {
			if !strings.Contains(line, text) {
				return false
			}
		}
		return true
	})
}

// replay fires recorded handshakes through a library and returns the number of hits.
func (a *agent) replay(t *testing.T, library string, handshakes int) (hits int) {
	t.Helper()
	output := a.run(t, opt+"/replay", "--library", library, "--fresh-ids", "--count", strconv.Itoa(handshakes), trace)
	return parseHits(t, output)
}

func parseHits(t *testing.T, output string) (hits int) {
	t.Helper()
	var values int
	if _, err := fmt.Sscanf(output, "hits %d values %d", &hits, &values); err != nil || hits == 0 {
		t.Fatalf("the publisher printed %q", output)
	}
	return hits
}

// stop stops the service and returns the hits that its runs recorded and lost since
// the test began, by the totals that they logged when they stopped.
func (a *agent) stop(t *testing.T) (recorded, lost int) {
	t.Helper()
	a.run(t, "systemctl", "stop", service)
	if result := a.property(t, service, "Result"); result != "success" {
		t.Errorf("the service stopped with result %s", result)
	}
	// The journal no longer finds the unit of a message if its process has ended meanwhile.
	recorded, lost, err := throwaway.Recorded(a.entries(t, "-t", "crau-agent"))
	if err != nil {
		t.Fatal(err)
	}
	return recorded, lost
}

// segments returns the names of the log's files, in order.
func (a *agent) segments(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir(a.path(logDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		if strings.HasSuffix(entry.Name(), ".cborseq.zst") {
			names = append(names, entry.Name())
		}
	}
	return names
}
