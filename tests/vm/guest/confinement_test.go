// SPDX-License-Identifier: Apache-2.0

//go:build vm

package guest

import (
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
	// No domain is permissive.
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
	// The labels are those of the policy.
	if wrong := run(t, "restorecon", "-n", "-v", "-R", "/usr/bin", "/run/crypto-auditing", "/var/lib/crypto-auditing", logDir); wrong != "" {
		t.Errorf("these labels differ from the policy:\n%s", wrong)
	}
	// A timer starts this service later; a denial makes the run fail at the end.
	run(t, "systemctl", "start", "systemd-tmpfiles-clean.service")
}

// intrude runs the intruder as a user, with all capabilities and without any
// sandbox, so that only SELinux denies it the files that the user owns. Its label
// makes the service manager run it in a domain. intrude returns that domain and the
// outcome of each attempt.
func intrude(t *testing.T, label, user string, attempts ...string) (domain string, outcomes map[string]string) {
	t.Helper()
	const unit, program = "intruder.service", "/opt/test/bin/intruder"
	run(t, "chcon", "-t", label, program)
	write(t, "/run/systemd/system/"+unit, "[Service]\nType=exec\nUser="+user+"\nExecStart="+program+" "+strings.Join(attempts, " ")+"\n")
	run(t, "systemctl", "daemon-reload")
	a := begin(t)
	run(t, "systemctl", "start", unit)
	defer run(t, "systemctl", "stop", unit)
	waitFor(t, "the intruder's report", func() bool {
		outcomes = map[string]string{}
		for line := range strings.Lines(run(t, "journalctl", "-u", unit, a.since, "-o", "cat")) {
			if attempt, outcome, ok := strings.Cut(strings.TrimSpace(line), " => "); ok {
				outcomes[attempt] = outcome
			}
		}
		return len(outcomes) == len(attempts)/2
	})
	context, err := os.ReadFile("/proc/" + property(t, unit, "MainPID") + "/attr/current")
	if err != nil {
		t.Fatal(err)
	}
	return typeOf(string(context)), outcomes
}

// attempts are the actions that an intruder tries in a domain, as the user that owns
// the files.
type attempts struct {
	user string
	// denied has pairs of an action and a path. allowed is one pair that must succeed,
	// which shows that the intruder works.
	denied, allowed []string
}

// check checks that only the allowed attempt succeeds.
func (a attempts) check(t *testing.T, label, want string) {
	t.Helper()
	domain, outcomes := intrude(t, label, a.user, append(slices.Clone(a.denied), a.allowed...)...)
	if domain != want {
		t.Fatalf("the intruder is in %s, want %s", domain, want)
	}
	for attempt, outcome := range outcomes {
		want := "denied"
		if attempt == strings.Join(a.allowed, " ") {
			want = "done"
		}
		if outcome != want {
			t.Errorf("%s by %s: %s, want %s", attempt, a.user, outcome, want)
		}
		if path, ok := strings.CutPrefix(attempt, "write "); ok {
			if _, err := os.Stat(path); err == nil {
				t.Errorf("%s: the file exists", attempt)
			}
		}
	}
}

const agentUser, brokerUser = "crypto-auditing", "crypto-auditing-broker"

func TestTheServicesAreConfinedAndTheLogIsProtected(t *testing.T) {
	running(t)
	fireTrace(t, 1)
	flush(t)
	bus(t, "GetStatus")
	segment := filepath.Join(logDir, segments(t)[0])
	// No service needs access to these.
	foreign := []string{
		"read", "/etc/shadow", "list", "/root", "read", "/var/log/audit/audit.log", "list", "/var/log/journal",
		"write", "/etc/intruder", "write", "/usr/bin/intruder", "write", "/var/lib/intruder", "write", "/var/log/intruder",
		"write", "/root/intruder", "write", "/run/intruder", "write", "/etc/crypto-auditing/intruder.conf",
	}
	for name, c := range map[string]struct {
		label, domain string
		attempts      attempts
	}{
		"the agent, root's files":          {agentType, agentDomain, attempts{"root", foreign, []string{"read", library}}},
		"the agent, the broker's files":    {agentType, agentDomain, attempts{brokerUser, []string{"list", "/var/lib/crypto-auditing", "write", "/var/lib/crypto-auditing/intruder"}, []string{"read", library}}},
		"the broker, root's files":         {brokerType, brokerDomain, attempts{"root", foreign, []string{"connect", agentPath}}},
		"the broker, which reads the log":  {brokerType, brokerDomain, attempts{agentUser, []string{"write", logDir + "/intruder"}, []string{"read", segment}}},
		"a web server, the agent's files":  {"httpd_exec_t", "httpd_t", attempts{agentUser, []string{"list", logDir, "read", segment, "write", logDir + "/intruder", "connect", agentPath, "connect", brokerPath}, []string{"read", "/etc/passwd"}}},
		"a web server, the broker's files": {"httpd_exec_t", "httpd_t", attempts{brokerUser, []string{"list", "/var/lib/crypto-auditing"}, []string{"read", "/etc/passwd"}}},
	} {
		t.Run(name, func(t *testing.T) { c.attempts.check(t, c.label, c.domain) })
	}
}
