// SPDX-License-Identifier: Apache-2.0

//go:build vm

package guest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The domains and types of the policy.
const (
	agentDomain  = "crau_agent_t"
	brokerDomain = "crau_broker_t"
	agentType    = "crau_agent_exec_t"
	brokerType   = "crau_broker_exec_t"
)

func TestSELinuxIsEnforcing(t *testing.T) {
	if mode := strings.TrimSpace(run(t, "getenforce")); mode != "Enforcing" {
		t.Errorf("the mode is %s", mode)
	}
	if modules := run(t, "semodule", "-l"); !slices.Contains(strings.Fields(modules), "crypto_auditing") {
		t.Errorf("the modules are %s", modules)
	}
	// Nobody has it switched off for one of our domains.
	if permissive := run(t, "semodule", "-l"); strings.Contains(permissive, "permissive_") {
		t.Errorf("there are permissive domains:\n%s", permissive)
	}
}

// typeOf returns the type in a context.
func typeOf(context string) string {
	parts := strings.Split(strings.TrimSpace(context), ":")
	if len(parts) < 3 {
		return context
	}
	return parts[2]
}

func TestProcessesRunInTheirDomains(t *testing.T) {
	running(t)
	bus(t, "GetStatus")
	for unit, want := range map[string]string{agentService: agentDomain, brokerService: brokerDomain} {
		waitFor(t, unit, func() bool { return active(t, unit) })
		if got := typeOf(run(t, "ps", "-o", "label=", "-p", property(t, unit, "MainPID"))); got != want {
			t.Errorf("%s runs as %s, want %s", unit, got, want)
		}
	}
}

func TestFilesAndSocketsHaveTheirLabels(t *testing.T) {
	running(t)
	fireTrace(t, 1)
	flush(t)
	bus(t, "GetStatus")
	waitFor(t, "the broker's state", func() bool {
		names, _ := os.ReadDir("/var/lib/crypto-auditing")
		return len(names) > 0
	})
	for pattern, want := range map[string]string{
		"/usr/bin/crau-agent":                agentType,
		"/usr/bin/crau-broker":               brokerType,
		"/usr/bin/crauctl":                   "crauctl_exec_t",
		"/usr/lib/systemd/system/crypto-*.*": "crypto_auditing_unit_t",
		"/usr/lib/crypto-auditing/*":         "crypto_auditing_conf_t",
		logDir:                               "crypto_auditing_log_t",
		logDir + "/*":                        "crypto_auditing_log_t",
		"/var/lib/crypto-auditing":           "crypto_auditing_var_lib_t",
		"/var/lib/crypto-auditing/*":         "crypto_auditing_var_lib_t",
		"/run/crypto-auditing":               "crypto_auditing_runtime_t",
		"/run/crypto-auditing/org.*":         "crypto_auditing_runtime_t",
	} {
		paths, err := filepath.Glob(pattern)
		if err != nil || len(paths) == 0 {
			t.Errorf("there is no %s", pattern)
		}
		for _, path := range paths {
			if got := typeOf(run(t, "stat", "-c", "%C", path)); got != want {
				t.Errorf("%s is labelled %s, want %s", path, got, want)
			}
		}
	}
	// What the policy says is what is there.
	if wrong := run(t, "restorecon", "-n", "-v", "-R", "/usr/bin", "/run/crypto-auditing", "/var/lib/crypto-auditing", logDir); wrong != "" {
		t.Errorf("these labels are not those of the policy:\n%s", wrong)
	}
}

// intrude runs the intruder as root, with all capabilities and without any
// sandbox, so that SELinux alone stops it. It is labelled as a program by which
// the service manager enters a domain. intrude returns that domain, and what
// became of each attempt.
func intrude(t *testing.T, label string, attempts ...string) (domain string, outcomes map[string]string) {
	t.Helper()
	const unit, program = "intruder.service", "/opt/test/bin/intruder"
	run(t, "chcon", "-t", label, program)
	write(t, "/run/systemd/system/"+unit, "[Service]\nType=oneshot\nExecStart="+program+" "+strings.Join(attempts, " ")+"\n")
	run(t, "systemctl", "daemon-reload")
	a := begin(t)
	run(t, "systemctl", "start", unit)
	waitFor(t, "the intruder's report", func() bool {
		outcomes = map[string]string{}
		decoder := json.NewDecoder(strings.NewReader(run(t, "journalctl", "-t", "intruder", "--after-cursor", a.cursor, "-o", "json")))
		for {
			var said struct {
				Message string `json:"MESSAGE"`
				Context string `json:"_SELINUX_CONTEXT"`
			}
			if decoder.Decode(&said) != nil {
				return len(outcomes) == len(attempts)/2
			}
			what, outcome, _ := strings.Cut(said.Message, ": ")
			domain, outcomes[what] = typeOf(said.Context), outcome
		}
	})
	return domain, outcomes
}

// checkDenied checks that each attempt in a domain was denied, but for those
// that are allowed: they show that it is not the intruder who fails.
func checkDenied(t *testing.T, want, label string, attempts []string, allowed ...string) {
	t.Helper()
	domain, outcomes := intrude(t, label, attempts...)
	if domain != want {
		t.Fatalf("the intruder is in %s, want %s", domain, want)
	}
	for what, outcome := range outcomes {
		want := "denied"
		if slices.Contains(allowed, what) {
			want = "done"
		}
		if outcome != want {
			t.Errorf("%s: %s, want %s", what, outcome, want)
		}
		if path, ok := strings.CutPrefix(what, "write "); ok {
			if _, err := os.Stat(path); err == nil {
				t.Errorf("%s: there is something now", what)
			}
		}
	}
}

func TestTheServicesAreConfined(t *testing.T) {
	running(t)
	fireTrace(t, 1)
	flush(t)
	segment := filepath.Join(logDir, segments(t)[0])
	// What none of them has to do with.
	foreign := []string{
		"read", "/etc/shadow", "list", "/root", "read", "/var/log/audit/audit.log", "list", "/var/log/journal",
		"write", "/etc/intruder", "write", "/usr/bin/intruder", "write", "/var/lib/intruder", "write", "/var/log/intruder", "write", "/root/intruder", "write", "/run/intruder",
		"write", "/etc/crypto-auditing/intruder.conf",
	}
	t.Run("agent", func(t *testing.T) {
		checkDenied(t, agentDomain, agentType, slices.Concat(foreign, []string{
			"list", "/var/lib/crypto-auditing", "write", "/var/lib/crypto-auditing/intruder",
			"read", segment, "read", library,
		}), "read "+segment, "read "+library)
	})
	t.Run("broker", func(t *testing.T) {
		checkDenied(t, brokerDomain, brokerType, slices.Concat(foreign, []string{
			"write", logDir + "/intruder",
			"read", segment, "connect", agentPath,
		}), "read "+segment, "connect "+agentPath)
	})
}

func TestOtherServicesSeeNothingOfTheLog(t *testing.T) {
	running(t)
	fireTrace(t, 1)
	flush(t)
	// A web server that has been taken over.
	checkDenied(t, "httpd_t", "httpd_exec_t", []string{
		"list", logDir, "read", filepath.Join(logDir, segments(t)[0]), "connect", agentPath, "connect", brokerPath,
		"list", "/var/lib/crypto-auditing", "write", "/run/crypto-auditing/intruder",
		"read", "/etc/passwd",
	}, "read /etc/passwd")
}
