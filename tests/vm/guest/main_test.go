// SPDX-License-Identifier: Apache-2.0

//go:build vm

// Package guest tests the installed project on a virtual machine, as root. It runs
// there (tests.service); the host's part is run.sh.
package guest

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	throwaway "crypto-auditing/tests/machine"
)

// patience is the timeout of each wait. The machine's hardware is emulated, and the
// host may be busy.
const patience = 90 * time.Second

const (
	agentService    = "crypto-auditing-agent.service"
	agentSocket     = "crypto-auditing-agent.socket"
	brokerService   = "crypto-auditing-broker.service"
	brokerSocket    = "crypto-auditing-broker.socket"
	truncateService = "crypto-auditing-truncate.service"
	truncateTimer   = "crypto-auditing-truncate.timer"

	agentPath  = "/run/crypto-auditing/org.cryptoauditing.Agent"
	brokerPath = "/run/crypto-auditing/org.cryptoauditing.Broker"
	logDir     = "/var/log/crypto-auditing"
	dropIns    = "/etc/systemd/system/" + agentService + ".d"
	// oldKernels is the drop-in that Debian 12's own kernel needs.
	oldKernels = "/usr/share/crypto-auditing/perf-event.conf"

	// The publishers: one makes handshakes with the machine's OpenSSL, the
	// other replays them through a library with probes.
	handshake = "/opt/test/bin/handshake"
	replay    = "/opt/test/bin/replay"
	library   = "/opt/test/lib/libreplay.so"
	trace     = "/opt/test/gnutls-tls13-p256.txt"
)

// kernel is the version of the kernel that the tests are for.
var kernel = flag.String("kernel", debian12, "the version of the machine's kernel")

// debian12 is the kernel that Debian 12 came with.
const debian12 = "6.1"

// old reports whether the kernel lacks uprobe_multi, which came with 6.6.
func old() bool { return *kernel == debian12 }

func TestMain(m *testing.M) {
	flag.Parse()
	if !old() {
		// The policy was installed for the old kernel.
		if output, err := exec.Command("setsebool", "crypto_auditing_agent_perf_events=0").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "setsebool: %v\n%s", err, output)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// run runs a command and returns what it prints. It must succeed.
func run(t *testing.T, arguments ...string) string {
	t.Helper()
	output, err := try(arguments...)
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(arguments, " "), err, output)
	}
	return output
}

// try is run for a command that may fail.
func try(arguments ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	output, err := exec.CommandContext(ctx, arguments[0], arguments[1:]...).CombinedOutput()
	return string(output), err
}

// follow runs the tests of another program, which must pass. It logs each line of their output
// immediately, and passes it to each.
func follow(t *testing.T, command *exec.Cmd, each func(line string)) {
	t.Helper()
	output, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	command.Stderr = command.Stdout
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(output)
	lines.Buffer(nil, 64<<20) // a failed test prints everything recorded in one line
	for lines.Scan() {
		t.Log(lines.Text())
		each(lines.Text())
	}
	if err := command.Wait(); err != nil {
		t.Error(err)
	}
}

// write writes a file.
func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// property returns a property of a unit.
func property(t *testing.T, unit, name string) string {
	t.Helper()
	return strings.TrimSpace(run(t, "systemctl", "show", "--value", "-p", name, unit))
}

// waitFor waits until a condition holds.
func waitFor(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !condition(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("timeout after %v while waiting for %s", patience, what)
		}
	}
}

// agent is the installed agent since a test began.
type agent struct {
	cursor string // the end of the journal at that time
	// since is that time as an option of journalctl, which skips the first matching
	// entry of a unit after a cursor (systemd 252).
	since string
}

// installed returns the agent as it is after installation, stopped and with an
// empty log, its socket listening. config is the text of its configuration,
// units are drop-ins of its service.
func installed(t *testing.T, config string, units ...string) *agent {
	t.Helper()
	run(t, "systemctl", "stop", agentService, brokerService)
	for _, dir := range []string{"/etc/crypto-auditing", dropIns, logDir, "/var/lib/crypto-auditing"} {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	write(t, "/etc/crypto-auditing/agent.conf", config)
	for i, text := range units {
		write(t, filepath.Join(dropIns, fmt.Sprintf("%d.conf", i)), text)
	}
	run(t, "restorecon", "-i", "-R", "/etc/crypto-auditing", dropIns)
	run(t, "systemctl", "daemon-reload")
	run(t, "systemctl", "reset-failed")
	run(t, "systemctl", "start", agentSocket, brokerSocket)
	return begin(t)
}

// begin returns the agent as it is now.
func begin(t *testing.T) *agent {
	t.Helper()
	// Makes the journal read all earlier messages.
	run(t, "journalctl", "--sync")
	now := time.Now()
	a := &agent{since: fmt.Sprintf("--since=@%d.%06d", now.Unix(), now.Nanosecond()/1000)}
	for line := range strings.Lines(run(t, "journalctl", "-n", "0", "--show-cursor")) {
		if cursor, ok := strings.CutPrefix(line, "-- cursor: "); ok {
			a.cursor = strings.TrimSpace(cursor)
		}
	}
	t.Cleanup(func() {
		if t.Failed() {
			output, _ := try("journalctl", "--after-cursor", a.cursor, "-o", "short-monotonic")
			t.Logf("the journal:\n%s", output)
		}
	})
	return a
}

// prepared is installed with the drop-in for this kernel, if it needs one.
func prepared(t *testing.T, config string, units ...string) *agent {
	t.Helper()
	if old() {
		text, err := os.ReadFile(oldKernels)
		if err != nil {
			t.Fatal(err)
		}
		units = append(units, string(text))
	}
	return installed(t, config, units...)
}

// recording is prepared and started.
func recording(t *testing.T, config string, units ...string) *agent {
	t.Helper()
	a := prepared(t, config, units...)
	run(t, "systemctl", "start", agentService)
	return a
}

// both is a configuration that records both publishers.
func both() string { return libraries(library, handshake) }

// running returns an agent that records both publishers. It reuses the running agent
// if it can: a start takes long, because the kernel verifies the agent's BPF programs.
func running(t *testing.T) *agent {
	t.Helper()
	config, _ := os.ReadFile("/etc/crypto-auditing/agent.conf")
	units, _ := os.ReadDir(dropIns)
	needed := 0
	if old() {
		needed = 1
	}
	if string(config) == both() && len(units) == needed && active(t, agentService) {
		return begin(t)
	}
	return recording(t, both())
}

// reload replaces the configuration of a running agent.
func reload(t *testing.T, config string) {
	t.Helper()
	write(t, "/etc/crypto-auditing/agent.conf", config)
	run(t, "systemctl", "reload", agentService)
}

// flush writes all fired events to the log and returns the cursor after them.
func flush(t *testing.T) string {
	t.Helper()
	return strings.TrimSpace(run(t, "crauctl", "flush"))
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

// active reports whether a unit runs.
func active(t *testing.T, unit string) bool {
	t.Helper()
	return property(t, unit, "ActiveState") == "active"
}

// journalHas reports whether a line that the agent wrote to the journal since the
// test began contains all texts.
func (a *agent) journalHas(t *testing.T, texts ...string) bool {
	t.Helper()
	run(t, "journalctl", "--sync")
	for line := range strings.Lines(run(t, "journalctl", "-u", agentService, a.since, "-o", "cat")) {
		if !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(line, text) }) {
			return true
		}
	}
	return false
}

// fire runs a publisher and returns the number of its hits.
func fire(t *testing.T, publisher ...string) (hits int) {
	t.Helper()
	return parseHits(t, run(t, publisher...))
}

func parseHits(t *testing.T, output string) (hits int) {
	t.Helper()
	var values int
	if _, err := fmt.Sscanf(output, "hits %d values %d", &hits, &values); err != nil || hits == 0 {
		t.Fatalf("the publisher printed %q", output)
	}
	return hits
}

// fireTrace replays recorded handshakes and returns the number of hits.
func fireTrace(t *testing.T, handshakes int) (hits int) {
	t.Helper()
	return fire(t, replay, "--library", library, "--fresh-ids", "--count", strconv.Itoa(handshakes), trace)
}

// status is the output of crauctl status.
type status struct {
	Version        string
	Profile        string
	HitsSeen, Hits int
	Lost           []loss
	Libraries      []struct {
		Path, Attached, Error string
		Hits                  int
	}
	Newest, Oldest string
	DiskUsage      int
	Broker         *struct{ Version string }
}

type loss struct {
	Reason string
	Hits   int
}

// readStatus returns the status of agent and broker after a flush.
func readStatus(t *testing.T) (s status) {
	t.Helper()
	flush(t)
	output := run(t, "crauctl", "status", "-o", "json")
	if err := json.Unmarshal([]byte(output), &s); err != nil {
		t.Fatalf("crauctl status prints %q: %v", output, err)
	}
	return s
}

// lost adds up losses.
func lost(losses []loss) (hits int) {
	for _, l := range losses {
		hits += l.Hits
	}
	return hits
}

// stop stops the service and returns the hits that its runs recorded and lost since
// the test began, by the totals that they logged when they stopped.
func (a *agent) stop(t *testing.T) (recorded, lost int) {
	t.Helper()
	run(t, "systemctl", "stop", agentService)
	if result := property(t, agentService, "Result"); result != "success" {
		t.Errorf("the service stopped with result %s", result)
	}
	run(t, "journalctl", "--sync")
	// The journal no longer finds the unit of a message if its process has ended meanwhile.
	entries, err := throwaway.ParseJournal(run(t, "journalctl", "-t", "crau-agent", a.since, "-o", "json"))
	if err != nil {
		t.Fatal(err)
	}
	recorded, lost, err = throwaway.Recorded(entries)
	if err != nil {
		t.Fatal(err)
	}
	return recorded, lost
}

// segments returns the names of the log's files, in order.
func segments(t *testing.T) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(logDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if strings.HasSuffix(entry.Name(), ".cborseq.zst") {
			names = append(names, entry.Name())
		}
	}
	return names
}

// handshakesAfter returns the number of replayed handshakes in the log after a cursor.
func handshakesAfter(t *testing.T, cursor string) int {
	t.Helper()
	const perHandshake = 4 // the times that the name is printed
	output, _ := try("crauctl", "query", "--directory", logDir, "--after-cursor", cursor)
	return strings.Count(output, "tls::handshake") / perHandshake
}
