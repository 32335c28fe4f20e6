// SPDX-License-Identifier: Apache-2.0

package guide

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"crypto-auditing/tests/machine"
)

// everyday tests the first use of a newly installed, unconfigured project: the log has the
// handshakes of ordinary programs, whose libraries have no probes, with the values that the
// programs report and with their units.
func everyday(t *testing.T, m *machine.Machine) {
	t.Helper()
	build := exec.Command("go", "build", "-o", m.Path("/usr/local/bin/greeter"), "./greeter")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	const address = "127.0.0.1:8443"
	m.Run(t, "systemd-run", "-q", "--unit=greeter.service", "greeter", "serve", address)
	listens := func(port string) func() bool {
		return func() bool { return strings.Contains(m.Run(t, "ss", "-Hltn"), ":"+port+" ") }
	}
	machine.WaitFor(t, "the server to listen", listens("8443"))
	m.Run(t, "systemctl", "start", "ssh.service")
	machine.WaitFor(t, "sshd to listen", listens("22"))
	// run runs a command as a service.
	run := func(unit string, arguments ...string) string {
		out, _ := m.Try(append([]string{"systemd-run", "-q", "--wait", "--pipe", "--unit=" + unit}, arguments...)...)
		return out
	}
	// shown waits until crauctl shows an operation with the values.
	shown := func(t *testing.T, executable, unit string, matches ...string) {
		t.Helper()
		began := time.Now()
		arguments := append([]string{"crauctl", "query", "-q", "-o", "json", "--source", "wire", "--executable", executable, "--unit", unit}, matches...)
		var out string
		machine.WaitFor(t, fmt.Sprintf("%q to show %s", arguments, executable), func() bool {
			out, _ = m.Try(arguments...)
			return strings.Contains(out, `"context"`)
		})
		t.Logf("shown after %.2f s: %s of %s, %v", time.Since(began).Seconds(), executable, unit, matches)
		var o struct {
			Executable string
			Events     map[string]any
		}
		if err := json.NewDecoder(strings.NewReader(out)).Decode(&o); err != nil || o.Executable != executable || o.Events["crau::unit"] != unit {
			t.Errorf("%v: crauctl shows %+v:\n%s", err, o, out)
		}
	}
	// ofTLS returns the matches for the values that greeter prints for a connection.
	ofTLS := func(t *testing.T, printed, role string) []string {
		t.Helper()
		v := regexp.MustCompile(`version=(\d+) suite=(\d+) group=(\d+)`).FindStringSubmatch(printed)
		if v == nil {
			t.Fatalf("greeter printed %q", printed)
		}
		return []string{"tls::role=" + role, "tls::protocol_version=" + v[1], "tls::ciphersuite=" + v[2], "tls::group=" + v[3]}
	}
	t.Run("curl", func(t *testing.T) {
		printed := run("visit.service", "curl", "-sk", "https://"+address)
		shown(t, "curl", "visit.service", ofTLS(t, printed, "client")...)
		shown(t, "greeter", "greeter.service", ofTLS(t, printed, "server")...)
	})
	t.Run("a Go program", func(t *testing.T) {
		printed := run("fetch.service", "greeter", "fetch", address)
		shown(t, "greeter", "fetch.service", ofTLS(t, printed, "client")...)
		shown(t, "greeter", "greeter.service", ofTLS(t, printed, "server")...)
	})
	t.Run("ssh", func(t *testing.T) {
		// The login fails, but after the handshake.
		printed := run("login.service", "ssh", "-v", "-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no",
			"-o", "UserKnownHostsFile=/dev/null", "nobody@127.0.0.1", "true")
		v := regexp.MustCompile(`kex: algorithm: (\S+)`).FindStringSubmatch(printed)
		cipher := regexp.MustCompile(`kex: client->server cipher: (\S+)`).FindStringSubmatch(printed)
		if v == nil || cipher == nil {
			t.Fatalf("ssh printed %q", printed)
		}
		shown(t, "ssh", "login.service", "ssh::role=client", "ssh::kex_algorithm="+v[1], "ssh::c2s_cipher="+cipher[1])
		shown(t, "sshd", "ssh.service", "ssh::role=server", "ssh::kex_algorithm="+v[1], "ssh::c2s_cipher="+cipher[1])
	})
	m.Run(t, "systemctl", "stop", "greeter.service", "ssh.service")
}
