// SPDX-License-Identifier: Apache-2.0

package systemd

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	throwaway "crypto-auditing/tests/machine"
)

const (
	openerService = "crypto-auditing-opener.service"
	openerSocket  = "crypto-auditing-opener.socket"
)

// contain starts replay in a new mount namespace with a library that exists only there, and
// returns a function that makes it fire recorded handshakes.
func (a *agent) contain(t *testing.T) (run func(handshakes int)) {
	t.Helper()
	c := a.command("unshare", "--mount", "sh", "-euc", "mount -t tmpfs none /mnt; cat "+library+" >/mnt/libssl.so.77; chmod 644 /mnt/libssl.so.77; exec "+
		opt+"/replay --commands --library /mnt/libssl.so.77 "+trace)
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		_ = c.Wait()
	})
	lines := bufio.NewReader(out)
	await := func() {
		t.Helper()
		if _, err := lines.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	await() // the line "ready"
	return func(handshakes int) {
		t.Helper()
		if _, err := fmt.Fprintf(in, "run %d\n", handshakes); err != nil {
			t.Fatal(err)
		}
		await()
	}
}

func TestLibrariesInContainersAreRecordedOnceTheOpenerIsEnabled(t *testing.T) {
	m := needMachine(t)
	if state, _ := m.try(t, "systemctl", "is-enabled", openerSocket); strings.TrimSpace(state) != "disabled" {
		t.Errorf("after the installation, %s is %s", openerSocket, state)
	}
	settings := deadly
	if asksForUprobe() {
		settings = "[Service]\n"
	}
	a := installed(t, libraries(library)+"discover_processes = true\n", settings)
	a.dropIn(t, openerService, deadly)
	a.run(t, "systemctl", "start", service)
	run := a.contain(t)
	waitFor(t, "the status to report the library", func() bool {
		text := a.run(t, "crauctl", "status")
		return strings.Contains(text, "/libssl.so.77") && strings.Contains(text, openerSocket)
	})

	a.run(t, "systemctl", "enable", "--now", openerSocket)
	t.Cleanup(func() {
		a.run(t, "systemctl", "disable", "--now", openerSocket)
		a.run(t, "systemctl", "stop", openerService)
	})
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(a.run(t, "crauctl", "status"))
		}
	})
	waitFor(t, "the library to be attached", func() bool { return a.journalHas(t, "attached", "/libssl.so.77") })
	process := a.property(t, openerService, "MainPID")
	status := a.proc(t, process, "status")
	capabilities := mask(throwaway.CapSysPtrace)
	for _, want := range []string{
		"CapInh: " + capabilities, "CapPrm: " + capabilities, "CapEff: " + capabilities, "CapBnd: " + capabilities, "CapAmb: " + capabilities,
		"NoNewPrivs: 1", "Seccomp: 2", "Groups: " + groupsOf(status),
	} {
		if !slices.Contains(status, want) {
			t.Errorf("/proc/%s/status has no %q:\n%s", process, want, strings.Join(status, "\n"))
		}
	}
	if info, err := os.Stat(a.path("/run/crypto-auditing/opener")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket: %v, %v", info, err)
	}
	run(5)
	if recorded, lost := a.stop(t); recorded != 5*28 || lost != 0 {
		t.Errorf("recorded %d of %d hits, lost %d", recorded, 5*28, lost)
	}
	a.checkNoComplaints(t, openerService)
}

// groupsOf returns the group of a process, which must be its only one.
func groupsOf(status []string) string {
	for _, line := range status {
		if ids, ok := strings.CutPrefix(line, "Gid: "); ok {
			return strings.Fields(ids)[0]
		}
	}
	return ""
}
