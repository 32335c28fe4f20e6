// SPDX-License-Identifier: Apache-2.0

package systemd

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	throwaway "crypto-auditing/tests/machine"
)

// limits are the highest exposures that systemd-analyze security may report, in tenths.
var limits = map[string]int{service: 15, brokerService: 8, inventoryService: 8, openerService: 11, truncateService: 8}

func TestUnitsAreCorrect(t *testing.T) {
	m := needMachine(t)
	for _, unit := range []string{service, socket, brokerService, brokerSocket, inventoryService, inventoryTimer, openerService, openerSocket, truncateService, truncateTimer} {
		path := m.property(t, unit, "FragmentPath")
		// The findings are in its output; its exit status only shows the worst.
		if output := m.run(t, "systemd-analyze", "verify", "--recursive-errors=no", path); output != "" {
			t.Errorf("systemd-analyze verify %s:\n%s", path, output)
		}
	}
}

func TestRestartsOfAFailingServiceAreDelayed(t *testing.T) {
	m := needMachine(t)
	for _, unit := range []string{service, brokerService, inventoryService} {
		steps := m.property(t, unit, "RestartSteps") // empty: this systemd lacks the setting
		delay := m.property(t, unit, "RestartUSec")
		if grows := steps != "" && steps != "0"; !grows && delay != "5s" {
			t.Errorf("%s is restarted after %s, in %q steps", unit, delay, steps)
		}
		if status := m.property(t, unit, "RestartPreventExitStatus"); status != "78" {
			t.Errorf("%s is not restarted after the exit status %s, want 78", unit, status)
		}
	}
}

func TestServicesHaveALowExposureLevel(t *testing.T) {
	m := needMachine(t)
	for unit, limit := range limits {
		output := m.run(t, "systemd-analyze", "security", "--no-pager", unit)
		_, level, _ := strings.Cut(output, "Overall exposure level for "+unit+": ")
		exposure, err := strconv.ParseFloat(strings.Fields(level)[0], 64)
		if err != nil {
			t.Fatalf("systemd-analyze printed:\n%s", output)
		}
		t.Logf("%s: exposure %v", unit, exposure)
		if int(exposure*10+.5) > limit {
			t.Errorf("the exposure of %s is %v, want at most %v:\n%s", unit, exposure, float64(limit)/10, output)
		}
	}
}

func TestInstallationEnablesTheAgentForBoot(t *testing.T) {
	m := needMachine(t)
	for _, unit := range []string{service, socket} {
		if state := strings.TrimSpace(m.run(t, "systemctl", "is-enabled", unit)); state != "enabled" {
			t.Errorf("%s is %s", unit, state)
		}
	}
	if _, err := os.Readlink(m.path("/run/varlink/registry/org.cryptoauditing.Agent")); err != nil {
		t.Errorf("the interface is not registered: %v", err)
	}
	// The first start was at boot, before all tests.
	first := m.run(t, "journalctl", "-b", "-u", service, "-o", "cat")
	if !strings.Contains(first, "recording (log_dir=") {
		t.Errorf("the agent did not record after boot:\n%s", first)
	}
}

func TestDropInForOldKernelsAddsOneCapability(t *testing.T) {
	a := installed(t, libraries(library))
	text, err := os.ReadFile(a.path("/usr/share/crypto-auditing/perf-event.conf"))
	if err != nil {
		t.Fatal(err)
	}
	a.write(t, dropIns+"/perf-event.conf", string(text))
	a.write(t, dropIns+"/profile.conf", "[Service]\nExecStart=\nExecStart=/usr/bin/crau-agent --profile perf_event\n")
	a.run(t, "systemctl", "daemon-reload")
	a.run(t, "systemctl", "start", service)
	checkCapabilities(t, a, throwaway.CapSysAdmin, throwaway.CapLease, throwaway.CapPerfmon, throwaway.CapBPF)
	fired := a.replay(t, library, 10)
	if recorded, _ := a.stop(t); recorded != fired {
		t.Errorf("recorded %d of %d hits", recorded, fired)
	}
}

// mask returns capabilities as /proc/PID/status has them.
func mask(capabilities ...int) string {
	bits := uint64(0)
	for _, capability := range capabilities {
		bits |= 1 << capability
	}
	return fmt.Sprintf("%016x", bits)
}

// checkCapabilities checks that the agent has some capabilities and cannot get others.
func checkCapabilities(t *testing.T, a *agent, capabilities ...int) {
	t.Helper()
	want := mask(capabilities...)
	for _, set := range []string{"CapPrm", "CapEff", "CapBnd", "CapAmb"} {
		if got := a.status(t, set); got != want {
			t.Errorf("%s is %s, want %s", set, got, want)
		}
	}
}

func TestManualsAndCompletionsAreInstalled(t *testing.T) {
	m := needMachine(t)
	for page, section := range map[string]string{
		"crauctl": "1", "crypto-auditing-agent.conf": "5", "crypto-auditing-broker.conf": "5", "crypto-auditing-inventory.conf": "5", "crypto-auditing": "7", "crau-agent": "8", "crau-broker": "8", "crau-inventory": "8", "crau-opener": "8",
		// These pages are links.
		service: "8", truncateTimer: "8",
	} {
		text, err := os.ReadFile(m.path("/usr/share/man/man" + section + "/" + page + "." + section))
		if err != nil {
			t.Error(err)
		} else if strings.Contains(string(text), "@version@") {
			t.Errorf("%s(%s) has a placeholder left", page, section)
		} else if target, ok := strings.CutPrefix(string(text), ".so "); ok {
			if _, err := os.Stat(m.path("/usr/share/man/" + strings.TrimSpace(target))); err != nil {
				t.Errorf("%s(%s) is a dangling link: %v", page, section, err)
			}
		}
	}
	m.run(t, "bash", "-n", "/usr/share/bash-completion/completions/crauctl")
	for _, path := range []string{"/usr/share/zsh/site-functions/_crauctl", "/usr/share/fish/vendor_completions.d/crauctl.fish"} {
		if info, err := os.Stat(m.path(path)); err != nil || info.Size() == 0 {
			t.Errorf("the completions %s: %v", path, err)
		}
	}
	// The completions of all shells call this command.
	if offered := m.run(t, "crauctl", "__complete", "q"); !strings.HasPrefix(offered, "query\t") {
		t.Errorf("crauctl q is completed by %q", offered)
	}
}
