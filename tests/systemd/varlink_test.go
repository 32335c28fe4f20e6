// SPDX-License-Identifier: Apache-2.0

package systemd

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// reply is the reply of a varlink service.
type reply struct {
	Error      string
	Parameters map[string]any
}

// caller is a client that shares no code with the service.
const caller = `
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.settimeout(25)
s.connect(sys.argv[1])
s.sendall(b'{"method": "%s", "parameters": {}}\0' % sys.argv[2].encode())
answer = b""
while not answer.endswith(b"\0"):
    part = s.recv(65536)
    if not part:
        sys.exit("the service hung up")
    answer += part
print(answer[:-1].decode())
`

// call calls a method of the agent as a user.
func (a *agent) call(t *testing.T, user []string, method string) (r reply) {
	t.Helper()
	command := slices.Concat([]string{"setpriv"}, user, []string{"python3", "-c", caller, socketPath, "org.cryptoauditing.Agent." + method})
	output := a.run(t, command...)
	if err := json.Unmarshal([]byte(output), &r); err != nil {
		t.Fatalf("%s answers %q: %v", method, output, err)
	}
	return r
}

func TestCallStartsTheAgentAndIsAnswered(t *testing.T) {
	a := installed(t, libraries(library))
	r := a.call(t, asMember, "GetStatus")
	status, _ := r.Parameters["status"].(map[string]any)
	if r.Error != "" || status["directory"] != logDir || status["profile"] == "" {
		t.Errorf("the answer is %+v", r)
	}
	// The agent may answer before the service manager has read that it is ready.
	waitFor(t, "the agent to run", func() bool { return a.active(t) })
}

func TestPeersHaveTheirPermissions(t *testing.T) {
	a := recording(t, libraries(library))
	for method, allowed := range map[string][][]string{
		"GetStatus": {asRoot, asMember},
		"Flush":     {asRoot, asMember},
		"Rotate":    {asRoot},
		"Reload":    {asRoot},
	} {
		for name, user := range map[string][]string{"root": asRoot, "member": asMember} {
			want := "org.cryptoauditing.Agent.PermissionDenied"
			for _, permitted := range allowed {
				if slices.Equal(permitted, user) {
					want = ""
				}
			}
			if r := a.call(t, user, method); r.Error != want {
				t.Errorf("%s calls %s: %+v, want the error %q", name, method, r, want)
			}
		}
	}
}

func TestFlushMakesProbedEventsReadable(t *testing.T) {
	// The window is longer than the test.
	a := recording(t, libraries(library)+"coalesce_window = \"1m\"\n")
	a.replay(t, library, 5)
	if r := a.call(t, asMember, "Flush"); r.Error != "" || r.Parameters["cursor"] == "" {
		t.Errorf("the answer is %+v", r)
	}
	if n := a.shown(t); n != 5 {
		t.Errorf("the log shows %d of 5 handshakes", n)
	}
}

func TestReloadByCallReportsErrors(t *testing.T) {
	a := recording(t, libraries(library))
	a.write(t, "/etc/crypto-auditing/agent.conf", libraries(library)+"\nlibrarry = []\n")
	r := a.call(t, asRoot, "Reload")
	if r.Error != "org.cryptoauditing.Agent.BadConfiguration" || r.Parameters["line"] != 4. ||
		r.Parameters["file"] != "/etc/crypto-auditing/agent.conf" {
		t.Errorf("the answer is %+v", r)
	}
	fired := a.replay(t, library, 5)
	if recorded, lost := a.stop(t); recorded != fired || lost != 0 {
		t.Errorf("recorded %d of %d hits, lost %d", recorded, fired, lost)
	}
}

func TestPeersCannotDelayTheStop(t *testing.T) {
	a := recording(t, libraries(library))
	// An idle connection, and one in the middle of a call.
	const program = `
import socket, time
held = [socket.socket(socket.AF_UNIX) for i in range(2)]
for s in held:
    s.connect("` + socketPath + `")
held[1].sendall(b'{"method"')
print("held", flush=True)
time.sleep(60)
`
	peer := a.command("python3", "-c", program)
	stdout, err := peer.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := peer.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		peer.Process.Kill()
		peer.Wait()
	}()
	line := make([]byte, 5)
	if _, err := stdout.Read(line); err != nil || !strings.HasPrefix(string(line), "held") {
		t.Fatalf("the peer printed %q: %v", line, err)
	}
	fired := a.replay(t, library, 5)
	if recorded, lost := a.stop(t); recorded != fired || lost != 0 {
		t.Errorf("recorded %d of %d hits, lost %d", recorded, fired, lost)
	}
}
