// SPDX-License-Identifier: Apache-2.0

package selinux

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// typeOf returns the type with which restorecon(8) and the service manager label a path.
// kind is a mode of matchpathcon(8).
func (p policy) typeOf(t *testing.T, kind, path string) string {
	t.Helper()
	output, err := exec.Command("matchpathcon", "-n", "-f", p.contexts, "-m", kind, path).Output()
	if err != nil {
		t.Fatalf("cannot look up the context of %s: %v\n%s", path, err, output)
	}
	context := strings.TrimSpace(string(output))
	if fields := strings.Split(context, ":"); len(fields) > 2 {
		return fields[2]
	}
	return context
}

func TestFilesOfTheServicesHaveTheirTypes(t *testing.T) {
	p := needPolicy(t)
	need(t, "matchpathcon")
	for path, c := range map[string]struct{ kind, want string }{
		"/etc/crypto-auditing":                                                {"dir", "crypto_auditing_conf_t"},
		"/etc/crypto-auditing/agent.conf":                                     {"file", "crypto_auditing_conf_t"},
		"/etc/crypto-auditing/agent.conf.d/10-more.conf":                      {"file", "crypto_auditing_conf_t"},
		"/etc/crypto-auditing/registry.d/own.toml":                            {"file", "crypto_auditing_conf_t"},
		"/usr/lib/crypto-auditing/registry.d/own.toml":                        {"file", "crypto_auditing_conf_t"},
		"/run/crypto-auditing":                                                {"dir", "crypto_auditing_runtime_t"},
		"/run/crypto-auditing/org.cryptoauditing.Agent":                       {"sock_file", "crypto_auditing_runtime_t"},
		"/run/crypto-auditing/org.cryptoauditing.Broker":                      {"sock_file", "crypto_auditing_runtime_t"},
		"/run/crypto-auditing/opener":                                         {"sock_file", "crypto_auditing_runtime_t"},
		"/var/run/crypto-auditing/org.cryptoauditing.Agent":                   {"sock_file", "crypto_auditing_runtime_t"},
		"/var/lib/crypto-auditing":                                            {"dir", "crypto_auditing_var_lib_t"},
		"/var/lib/crypto-auditing/subscriptions":                              {"file", "crypto_auditing_var_lib_t"},
		"/var/lib/crypto-auditing-inventory":                                  {"dir", "crau_inventory_var_lib_t"},
		"/var/lib/crypto-auditing-inventory/inventory.db":                     {"file", "crau_inventory_var_lib_t"},
		"/var/log/crypto-auditing":                                            {"dir", "crypto_auditing_log_t"},
		"/var/log/crypto-auditing/.lock":                                      {"file", "crypto_auditing_log_t"},
		"/var/log/crypto-auditing/audit-01.cborseq.zst":                       {"file", "crypto_auditing_log_t"},
		"/etc/systemd/system/crypto-auditing-agent.service":                   {"file", "crypto_auditing_unit_t"},
		"/etc/systemd/system/crypto-auditing-agent.service.d/perf-event.conf": {"file", "crypto_auditing_unit_t"},
	} {
		t.Run(path, func(t *testing.T) {
			if got := p.typeOf(t, c.kind, path); got != c.want {
				t.Errorf("%s is %s, want %s", path, got, c.want)
			}
		})
	}
}

func TestInstalledFilesHaveTheirTypes(t *testing.T) {
	p := needPolicy(t)
	need(t, "matchpathcon", "meson", "ninja", "go", "bzip2")
	build := filepath.Join(t.TempDir(), "build")
	if _, err := run("../..", "meson", "setup", build, "--prefix=/usr", "-Dselinux="+p.variant); err != nil {
		t.Fatal(err)
	}
	text, err := exec.Command("meson", "introspect", build, "--installed").Output()
	if err != nil {
		t.Fatal(err)
	}
	var plan map[string]string
	if err := json.Unmarshal(text, &plan); err != nil {
		t.Fatal(err)
	}
	programs := map[string]string{"crau-agent": "crau_agent_exec_t", "crau-broker": "crau_broker_exec_t", "crau-inventory": "crau_inventory_exec_t", "crau-opener": "crau_opener_exec_t", "crauctl": "crauctl_exec_t"}
	found := map[string]int{}
	for _, path := range plan {
		got, want := p.typeOf(t, "file", path), ""
		switch {
		case strings.HasPrefix(path, "/usr/bin/"):
			want = programs[filepath.Base(path)]
		case filepath.Base(filepath.Dir(path)) == "system":
			want = "crypto_auditing_unit_t"
		case strings.HasPrefix(path, "/usr/lib/crypto-auditing/"):
			want = "crypto_auditing_conf_t"
		default:
			// Data that all users may read.
			if !strings.HasSuffix(got, "_t") || strings.HasPrefix(got, "crau") || strings.HasPrefix(got, "crypto_auditing") {
				t.Errorf("%s is %s, want a type of another module", path, got)
			}
			continue
		}
		if got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
		found[want]++
	}
	for want, atLeast := range map[string]int{"crau_agent_exec_t": 1, "crau_broker_exec_t": 1, "crau_inventory_exec_t": 1, "crau_opener_exec_t": 1, "crauctl_exec_t": 1, "crypto_auditing_unit_t": 10, "crypto_auditing_conf_t": 3} {
		if found[want] < atLeast {
			t.Errorf("%d files are %s, want at least %d", found[want], want, atLeast)
		}
	}
}
