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

// everyday does what a newcomer does first on a machine on which the project has just
// been installed, and nothing has been configured: programs that know nothing of
// the audit, with libraries without probes, have their handshakes in the log, with
// what the programs report, and with their units.
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
	machine.WaitFor(t, "the server listens", listens("8443"))
	m.Run(t, "systemctl", "start", "ssh.service")
	machine.WaitFor(t, "sshd listens", listens("22"))
	// run runs a command as a service.
	run := func(unit string, arguments ...string) string {
		out, _ := m.Try(append([]string{"systemd-run", "-q", "--wait", "--pipe", "--unit=" + unit}, arguments...)...)
		return out
	}
	// shown waits until an operation is in the log that has the values, by what
	// users type.
	shown := func(t *testing.T, executable, unit string, matches ...string) {
		t.Helper()
		began := time.Now()
		arguments := append([]string{"crauctl", "query", "-q", "-o", "json", "--source", "wire", "--executable", executable, "--unit", unit}, matches...)
		var out string
		machine.WaitFor(t, fmt.Sprintf("%q shows %s", arguments, executable), func() bool {
			out, _ = m.Try(arguments...)
			return strings.Contains(out, `"context"`)
		})
		t.Logf("shown %.2f s later: %s of %s, %v", time.Since(began).Seconds(), executable, unit, matches)
		var o struct {
			Executable string
			Events     map[string]any
		}
		if err := json.NewDecoder(strings.NewReader(out)).Decode(&o); err != nil || o.Executable != executable || o.Events["crau::unit"] != unit {
			t.Errorf("%v: shown is %+v:\n%s", err, o, out)
		}
	}
	// ofTLS returns the matches for what greeter prints about a connection.
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
		// Logins fail, which only happens after the handshake.
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
