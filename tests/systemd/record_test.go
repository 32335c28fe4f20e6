// SPDX-License-Identifier: Apache-2.0

package systemd

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	throwaway "crypto-auditing/tests/machine"
)

func TestAgentRecordsAsAnUnprivilegedUser(t *testing.T) {
	a := recording(t, libraries(library))
	user := strings.TrimSpace(a.run(t, "id", "-u", "crypto-auditing"))
	group := strings.TrimSpace(a.run(t, "id", "-g", "crypto-auditing"))
	if got, want := a.status(t, "Uid"), strings.Join([]string{user, user, user, user}, " "); got != want {
		t.Errorf("the agent runs as users %s, want %s", got, want)
	}
	if got, want := a.status(t, "Gid"), strings.Join([]string{group, group, group, group}, " "); got != want {
		t.Errorf("the agent runs as groups %s, want %s", got, want)
	}
	if got := a.status(t, "NoNewPrivs"); got != "1" {
		t.Errorf("NoNewPrivs is %s", got)
	}
	checkCapabilities(t, a, throwaway.CapLease, throwaway.CapPerfmon, throwaway.CapBPF)

	fired := a.replay(t, library, 100)
	if recorded, lost := a.stop(t); recorded != fired || lost != 0 {
		t.Errorf("recorded %d of %d hits, lost %d", recorded, fired, lost)
	}
	if output := a.run(t, "crauctl", "query", "--directory", logDir); !strings.Contains(output, "tls::handshake") {
		t.Errorf("the log shows no handshake:\n%s", output)
	}
}

func TestSandboxAllowsWhatTheAgentNeeds(t *testing.T) {
	a := recording(t, libraries(library))
	a.replay(t, library, 10)
	if disabled, err := os.ReadFile("/proc/sys/kernel/io_uring_disabled"); err == nil && strings.TrimSpace(string(disabled)) == "0" {
		if files := a.run(t, "ls", "-l", "/proc/"+a.pid(t)+"/fd"); !strings.Contains(files, "io_uring") {
			t.Errorf("the log is not written by io_uring; the open files are:\n%s", files)
		}
	}
	if locks := a.run(t, "cat", "/proc/locks"); !strings.Contains(locks, "LEASE  ACTIVE    READ") {
		t.Errorf("the agent has no lease on the library:\n%s", locks)
	}
	a.stop(t)
	a.checkNoComplaints(t, service)
}

// The BPF programs at sockets need no more capabilities than those at probes.
func TestTheServiceRecordsHandshakesAtSockets(t *testing.T) {
	a := recording(t, "sources = [\"wire\"]\n")
	checkCapabilities(t, a, throwaway.CapLease, throwaway.CapPerfmon, throwaway.CapBPF)
	if !strings.HasPrefix(a.property(t, service, "StatusText"), "recording handshakes at sockets, ") {
		t.Errorf("the status is %q", a.property(t, service, "StatusText"))
	}
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	response, err := server.Client().Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	a.stop(t)
	output := a.run(t, "crauctl", "query", "--directory", logDir, "--executable", filepath.Base(self))
	for _, side := range []string{"client", "server"} {
		if !strings.Contains(output, "tls::handshake "+side+", TLS 1.3") {
			t.Errorf("the log has no handshake of the %s:\n%s", side, output)
		}
	}
	a.checkNoComplaints(t, service)
}

func TestLogBelongsToTheGroup(t *testing.T) {
	a := recording(t, libraries(library))
	a.replay(t, library, 1)
	a.stop(t)
	segments := a.segments(t)
	if len(segments) == 0 {
		t.Fatal("there is no segment")
	}
	user, group := strings.TrimSpace(a.run(t, "id", "-u", "crypto-auditing")), strings.TrimSpace(a.run(t, "id", "-g", "crypto-auditing"))
	want := map[string]string{
		logDir:                     "750 " + user + ":" + group,
		logDir + "/" + segments[0]: "640 " + user + ":" + group,
	}
	for path, access := range want {
		if got := strings.TrimSpace(a.run(t, "stat", "-c", "%a %u:%g", path)); got != access {
			t.Errorf("access to %s is %s, want %s", path, got, access)
		}
	}
	read := []string{"crauctl", "query", "--directory", logDir}
	member := slices.Concat([]string{"setpriv"}, asMember, read)
	if output := a.run(t, member...); !strings.Contains(output, "tls::handshake") {
		t.Errorf("a member of the group reads:\n%s", output)
	}
	other := slices.Concat([]string{"setpriv"}, asStranger, read)
	if output, err := a.try(t, other...); err == nil {
		t.Errorf("other users can read the log:\n%s", output)
	}
}

func TestConnectingToTheSocketStartsTheAgent(t *testing.T) {
	a := installed(t, libraries(library))
	if a.active(t) {
		t.Fatal("the agent runs before a connection")
	}
	connect(t, a)
	waitFor(t, "the agent to run", func() bool { return a.active(t) })
	fired := a.replay(t, library, 1)
	if recorded, _ := a.stop(t); recorded != fired {
		t.Errorf("recorded %d of %d hits", recorded, fired)
	}
}

// connect connects to the agent's socket, as root.
func connect(t *testing.T, a *agent) {
	t.Helper()
	if output, err := tryConnect(t, a, asRoot); err != nil {
		t.Fatalf("cannot connect: %v\n%s", err, output)
	}
}

func tryConnect(t *testing.T, a *agent, user []string) (string, error) {
	t.Helper()
	const program = `import socket; socket.socket(socket.AF_UNIX).connect("` + socketPath + `")`
	return a.try(t, slices.Concat([]string{"setpriv"}, user, []string{"python3", "-c", program})...)
}

func TestOtherUsersCannotConnect(t *testing.T) {
	a := installed(t, libraries(library))
	output, err := tryConnect(t, a, asStranger)
	if err == nil || !strings.Contains(output, "Permission denied") {
		t.Errorf("the user nobody gets %v, want a denied permission\n%s", err, output)
	}
	if a.active(t) {
		t.Error("a stranger started the agent")
	}
}

func TestStoppingWritesAllProbedEvents(t *testing.T) {
	// The window is longer than the test.
	a := recording(t, libraries(library)+"coalesce_window = \"1m\"\n")
	fired := a.replay(t, library, 50)
	if n := len(a.segments(t)); n > 1 {
		t.Fatalf("there are %d segments before the stop", n)
	}
	if recorded, lost := a.stop(t); recorded != fired || lost != 0 {
		t.Errorf("recorded %d of %d hits, lost %d", recorded, fired, lost)
	}
}

func TestExitOfAServiceKeepsTheSocketsOfOthers(t *testing.T) {
	a := installed(t, libraries(library))
	const other = "/run/crypto-auditing/org.cryptoauditing.Other"
	a.write(t, "/run/systemd/system/other.socket", "[Socket]\nListenStream="+other+"\nRemoveOnStop=yes\n")
	a.write(t, "/run/systemd/system/other.service", "[Service]\nExecStart=/bin/true\nUser=nobody\n")
	a.run(t, "systemctl", "daemon-reload")
	a.run(t, "systemctl", "start", "other.socket")
	defer a.run(t, "systemctl", "stop", "other.socket")

	a.run(t, "systemctl", "start", service)
	a.run(t, "systemctl", "start", "--wait", "other.service")
	a.stop(t)
	for _, path := range []string{socketPath, other} {
		info, err := os.Stat(a.path(path))
		if err != nil || info.Mode().Type() != os.ModeSocket {
			t.Errorf("the socket is gone: %v", err)
		}
	}
	connect(t, a)
	waitFor(t, "the agent to run", func() bool { return a.active(t) })
}
