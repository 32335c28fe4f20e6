// SPDX-License-Identifier: Apache-2.0

package systemd

import (
	"os/exec"
	"strings"
	"testing"

	throwaway "crypto-auditing/tests/machine"
)

// opt is where the publishers are on the machine.
const opt = throwaway.Opt

// machine is the booted machine. Its methods have short names because the tests mostly
// consist of calls of them.
type machine struct{ booted *throwaway.Machine }

func (m *machine) command(arguments ...string) *exec.Cmd { return m.booted.Command(arguments...) }

func (m *machine) path(name string) string { return m.booted.Path(name) }

func (m *machine) run(t *testing.T, arguments ...string) string {
	t.Helper()
	return m.booted.Run(t, arguments...)
}

func (m *machine) try(t *testing.T, arguments ...string) (string, error) {
	t.Helper()
	return m.booted.Try(arguments...)
}

func (m *machine) write(t *testing.T, name, text string) {
	t.Helper()
	m.booted.Write(t, name, text)
}

// property returns a property of a unit.
func (m *machine) property(t *testing.T, unit, name string) string {
	t.Helper()
	return strings.TrimSpace(m.run(t, "systemctl", "show", "--value", "-p", name, unit))
}

func waitFor(t *testing.T, what string, condition func() bool) {
	t.Helper()
	throwaway.WaitFor(t, what, condition)
}
