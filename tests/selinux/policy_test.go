// SPDX-License-Identifier: Apache-2.0

package selinux

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
)

// services are the domains of the project.
var services = []string{"crau_agent_t", "crau_broker_t", "crau_inventory_t", "crau_opener_t", "crauctl_t"}

// access lists the permissions that a domain must have and must not have on a type,
// separated by spaces. The target "self" is the domain itself.
type access struct {
	sources       []string
	target, class string
	may, mayNot   string
}

// accesses are the checked permissions. Conditional rules also count as allowed, because
// their boolean may be switched on.
var accesses = map[string][]access{
	"only the agent changes the log": {
		{[]string{"crau_agent_t"}, "crypto_auditing_log_t", "file", "create open read write append rename unlink lock", "execute relabelfrom"},
		{[]string{"crau_agent_t"}, "crypto_auditing_log_t", "dir", "read search add_name remove_name write", ""},
		{[]string{"crau_broker_t", "crauctl_t", "staff_t", "user_t", "logrotate_t", "syslogd_t", "client_read_log_t", "client_watch_log_t"}, "crypto_auditing_log_t", "file", "", "create write append rename unlink link setattr relabelfrom relabelto"},
		{[]string{"crau_broker_t", "crauctl_t", "staff_t", "user_t", "logrotate_t", "syslogd_t", "client_read_log_t", "client_watch_log_t"}, "crypto_auditing_log_t", "dir", "", "add_name remove_name write rename setattr relabelfrom relabelto"},
	},
	"the broker reads the log and watches it": {
		{[]string{"crau_broker_t"}, "crypto_auditing_log_t", "file", "open read getattr", ""},
		{[]string{"crau_broker_t"}, "crypto_auditing_log_t", "dir", "open read search watch", ""},
	},
	"others do not read the log": {
		{[]string{"crauctl_t", "crau_inventory_t", "staff_t", "user_t", "logrotate_t", "syslogd_t"}, "crypto_auditing_log_t", "file", "", "open read"},
	},
	"only the broker accesses the subscriptions": {
		{[]string{"crau_broker_t"}, "crypto_auditing_var_lib_t", "file", "create open read write rename unlink lock", ""},
		{[]string{"crau_agent_t", "crauctl_t", "staff_t", "user_t"}, "crypto_auditing_var_lib_t", "file", "", "open read write append create unlink"},
	},
	"only the inventory accesses the counts": {
		{[]string{"crau_inventory_t"}, "crau_inventory_var_lib_t", "file", "create open read write rename unlink lock", "execute"},
		{[]string{"crau_agent_t", "crau_broker_t", "crauctl_t", "staff_t", "user_t"}, "crau_inventory_var_lib_t", "file", "", "open read write append create unlink"},
		{[]string{"crau_inventory_t"}, "crypto_auditing_var_lib_t", "file", "", "open read write"},
	},
	"the inventory is a client of the broker, and serves authorised clients": {
		{[]string{"crau_inventory_t"}, "crau_broker_t", "dbus", "send_msg", ""},
		{[]string{"crau_broker_t"}, "crau_inventory_t", "dbus", "send_msg", ""},
		{[]string{"crau_inventory_t"}, "crau_broker_t", "fifo_file", "read", "write"},
		{[]string{"crau_inventory_t"}, "crau_agent_t", "unix_stream_socket", "", "connectto"},
		{[]string{"crau_inventory_t"}, "system_dbusd_t", "dbus", "acquire_svc send_msg", ""},
		{[]string{"crau_inventory_t"}, "policykit_t", "dbus", "send_msg", ""},
		{[]string{"crauctl_t", "staff_t", "sysadm_t", "unconfined_t", "client_dbus_chat_t", "client_admin_t"}, "crau_inventory_t", "dbus", "send_msg", ""},
		{[]string{"user_t", "client_read_log_t"}, "crau_inventory_t", "dbus", "", "send_msg"},
		{[]string{"crau_inventory_t"}, "init_t", "system", "", "start stop reload reboot halt"},
	},
	"clients of the inventory receive its documents": {
		{[]string{"system_dbusd_t", "staff_t", "sysadm_t", "unconfined_t", "client_use_streams_t"}, "crau_inventory_t", "fifo_file", "read", ""},
		{[]string{"client_use_streams_t"}, "crau_inventory_t", "fifo_file", "", "write"},
	},
	"services read the configuration and do not change it": {
		{[]string{"crau_agent_t", "crau_broker_t", "crau_inventory_t", "crauctl_t"}, "crypto_auditing_conf_t", "file", "open read", ""},
		{services, "crypto_auditing_conf_t", "file", "", "write append create unlink rename setattr"},
	},
	"services read no secrets of users": {
		{services, "shadow_t", "file", "", "open read write"},
		{services, "user_home_t", "file", "", "open read write create"},
		// Some policies let all daemons use files that they receive open.
		{services, "user_tmp_t", "file", "", "open create"},
	},
	"services run no other programs and no generated code": {
		{services, "bin_t", "file", "", "execute_no_trans entrypoint"},
		{services, "shell_exec_t", "file", "", "execute_no_trans"},
		{services, "lib_t", "file", "", "execute_no_trans execmod write"},
		{services, "self", "process", "", "execmem execstack execheap ptrace setexec setcurrent dyntransition"},
	},
	"services have no network": {
		{services, "self", "tcp_socket", "", "create connect"},
		{services, "self", "udp_socket", "", "create connect"},
		{services, "self", "rawip_socket", "", "create"},
		{services, "self", "packet_socket", "", "create"},
		{services, "self", "netlink_route_socket", "", "create"},
	},
	"the agent may trace": {
		{[]string{"crau_agent_t"}, "self", "bpf", "map_create map_read map_write prog_load prog_run", ""},
		{[]string{"crau_agent_t"}, "self", "capability", "lease", "dac_override dac_read_search setuid setgid sys_ptrace"},
		{[]string{"crau_agent_t"}, "self", "process", "signal", ""},
		{[]string{"crau_agent_t"}, "self", "capability2", "bpf perfmon", "mac_admin mac_override syslog checkpoint_restore"},
		{[]string{"crau_broker_t", "crauctl_t"}, "self", "bpf", "", "map_create map_read map_write prog_load prog_run"},
		{[]string{"crau_broker_t", "crauctl_t"}, "self", "perf_event", "", "open read write"},
	},
	"the opener reads processes for the agent, and changes none": {
		{[]string{"crau_opener_t"}, "self", "capability", "sys_ptrace", "dac_override dac_read_search setuid setgid sys_admin"},
		{[]string{"crau_opener_t"}, "self", "capability2", "", "bpf perfmon mac_admin checkpoint_restore"},
		{[]string{"crau_opener_t"}, "sshd_t", "file", "open read", "write"},
		{[]string{"crau_opener_t"}, "sshd_t", "process", "", "ptrace signal sigkill"},
		{[]string{"crau_opener_t"}, "lib_t", "file", "open read", "write"},
		{[]string{"crau_opener_t"}, "crypto_auditing_log_t", "file", "", "open read write"},
		{[]string{"crau_agent_t", "client_stream_connect_opener_t"}, "crau_opener_t", "unix_stream_socket", "connectto", ""},
		{[]string{"crau_broker_t", "crau_inventory_t", "staff_t", "user_t"}, "crau_opener_t", "unix_stream_socket", "", "connectto"},
		{[]string{"crau_agent_t"}, "crau_opener_t", "fd", "use", ""},
	},
	"the agent reads programs and libraries and watches them": {
		{[]string{"crau_agent_t"}, "bin_t", "file", "open read getattr lock", ""},
		{[]string{"crau_agent_t"}, "sshd_exec_t", "file", "open read getattr lock", ""},
		{[]string{"crau_agent_t"}, "lib_t", "file", "open read getattr lock", ""},
		{[]string{"crau_agent_t"}, "textrel_shlib_t", "file", "open read getattr lock", ""},
		{[]string{"crau_agent_t"}, "usr_t", "file", "open read getattr lock", ""},
		{[]string{"crau_agent_t"}, "ld_so_cache_t", "file", "open read", ""},
		{[]string{"crau_agent_t"}, "lib_t", "dir", "read search watch", ""},
		{[]string{"crau_agent_t"}, "bin_t", "dir", "read search watch", ""},
		{[]string{"crau_agent_t"}, "usr_t", "dir", "read search watch", ""},
		{[]string{"crau_agent_t"}, "etc_t", "dir", "read search watch", ""},
	},
	"the broker and administrators call the agent": {
		{[]string{"crau_agent_t", "crau_broker_t", "sysadm_t", "client_stream_connect_agent_t", "client_admin_t"}, "crau_agent_t", "unix_stream_socket", "connectto", ""},
		{[]string{"crau_agent_t", "crau_broker_t", "sysadm_t", "client_stream_connect_agent_t", "client_admin_t"}, "crypto_auditing_runtime_t", "sock_file", "write", ""},
		{[]string{"staff_t", "user_t", "client_stream_connect_broker_t", "client_dbus_chat_t"}, "crau_agent_t", "unix_stream_socket", "", "connectto"},
	},
	"clients query the state of the agent from the service manager": {
		{[]string{"crau_broker_t", "staff_t", "sysadm_t", "client_status_agent_t"}, "crypto_auditing_unit_t", "service", "status", ""},
		{[]string{"crau_broker_t", "client_status_agent_t"}, "crypto_auditing_unit_t", "service", "", "start stop reload enable disable"},
		{[]string{"crau_broker_t", "client_status_agent_t"}, "init_t", "dbus", "send_msg", ""},
		{[]string{"init_t"}, "crau_broker_t", "dbus", "send_msg", ""},
		{[]string{"crau_broker_t"}, "init_t", "system", "", "start stop reload reboot halt"},
	},
	"the daemons send messages to the journal": {
		{[]string{"crau_agent_t", "crau_broker_t", "crau_inventory_t", "crau_opener_t"}, "syslogd_t", "unix_dgram_socket", "sendto", ""},
		{[]string{"crau_agent_t", "crau_broker_t", "crau_inventory_t"}, "devlog_t", "sock_file", "write", ""},
	},
	"authorised clients call the broker": {
		{[]string{"crauctl_t", "staff_t", "sysadm_t", "unconfined_t", "policykit_t", "client_dbus_chat_t", "client_admin_t"}, "crau_broker_t", "dbus", "send_msg", ""},
		{[]string{"user_t", "client_read_log_t"}, "crau_broker_t", "dbus", "", "send_msg"},
		{[]string{"sysadm_t", "client_stream_connect_broker_t", "client_admin_t"}, "crau_broker_t", "unix_stream_socket", "connectto", ""},
		{[]string{"staff_t", "user_t", "client_stream_connect_agent_t", "client_dbus_chat_t"}, "crau_broker_t", "unix_stream_socket", "", "connectto"},
	},
	"the broker owns its name and answers": {
		{[]string{"crau_broker_t"}, "system_dbusd_t", "dbus", "acquire_svc send_msg", ""},
		{[]string{"crau_broker_t"}, "unconfined_t", "dbus", "send_msg", ""},
		{[]string{"crau_broker_t"}, "sysadm_t", "dbus", "send_msg", ""},
		{[]string{"crau_broker_t"}, "staff_t", "dbus", "send_msg", ""},
		{[]string{"crau_broker_t"}, "crauctl_t", "dbus", "send_msg", ""},
		{[]string{"crau_broker_t"}, "policykit_t", "dbus", "send_msg", ""},
		{[]string{"crauctl_t"}, "system_dbusd_t", "dbus", "send_msg", "acquire_svc"},
	},
	"clients of the broker receive its pipes": {
		{[]string{"system_dbusd_t", "crauctl_t", "staff_t", "sysadm_t", "unconfined_t", "client_use_streams_t", "client_dbus_chat_t"}, "crau_broker_t", "fd", "use", ""},
		{[]string{"system_dbusd_t", "crauctl_t", "staff_t", "sysadm_t", "unconfined_t", "client_use_streams_t", "client_dbus_chat_t"}, "crau_broker_t", "fifo_file", "read", ""},
		{[]string{"user_t"}, "crau_broker_t", "fifo_file", "", "read"},
		{[]string{"client_use_streams_t", "client_dbus_chat_t"}, "crau_broker_t", "fifo_file", "", "write"},
	},
	"the service manager starts services without new privileges": {
		{[]string{"init_t"}, "crau_agent_t", "process2", "nnp_transition nosuid_transition", ""},
		{[]string{"init_t"}, "crau_broker_t", "process2", "nnp_transition nosuid_transition", ""},
		{[]string{"init_t"}, "crau_inventory_t", "process2", "nnp_transition nosuid_transition", ""},
		{[]string{"init_t"}, "crau_opener_t", "process2", "nnp_transition nosuid_transition", ""},
		{[]string{"init_t"}, "crau_opener_t", "unix_stream_socket", "create bind listen", ""},
		{[]string{"init_t"}, "crauctl_t", "process2", "nnp_transition nosuid_transition", ""},
		{[]string{"init_t"}, "crau_agent_t", "unix_stream_socket", "create bind listen", ""},
		{[]string{"init_t"}, "crau_broker_t", "unix_stream_socket", "create bind listen", ""},
		{[]string{"init_t"}, "crypto_auditing_runtime_t", "sock_file", "create write unlink", ""},
	},
	"users run crauctl as themselves": {
		{[]string{"user_t", "staff_t", "sysadm_t", "unconfined_t", "client_exec_crauctl_t", "client_admin_t"}, "crauctl_exec_t", "file", "execute execute_no_trans", ""},
		{[]string{"staff_t", "client_read_config_t"}, "crypto_auditing_conf_t", "file", "open read", ""},
	},
	"readers of the log have no other access": {
		{[]string{"client_read_log_t"}, "crypto_auditing_log_t", "file", "open read", ""},
		{[]string{"client_watch_log_t"}, "crypto_auditing_log_t", "dir", "watch", "read"},
		{[]string{"client_watch_log_t"}, "crypto_auditing_log_t", "file", "", "open read"},
	},
	"administrators change the configuration, not the programs": {
		{[]string{"client_admin_t", "sysadm_t"}, "crypto_auditing_conf_t", "file", "create write unlink", ""},
		{[]string{"client_admin_t", "sysadm_t"}, "crypto_auditing_unit_t", "service", "start stop status reload enable disable", ""},
		{[]string{"client_admin_t"}, "crau_agent_exec_t", "file", "", "write unlink"},
		{[]string{"client_admin_t"}, "crau_agent_t", "process", "signal", "ptrace"},
	},
}

// rules is the output of rules.py for the types of the tests.
type rules struct {
	// allowed is by "SOURCE TARGET CLASS PERMISSION"; its element is the
	// condition, empty if there is none.
	allowed map[string]string
	// entered is by "SOURCE FILE".
	entered    map[string]string
	permissive []string
	booleans   map[string]string
}

var readRules = sync.OnceValues(func() (rules, error) {
	p, err := link()
	if err != nil {
		return rules{}, err
	}
	types := []string{"crau_agent_exec_t", "crau_broker_exec_t", "crau_inventory_exec_t", "crau_opener_exec_t"}
	for _, all := range accesses {
		for _, a := range all {
			types = append(types, a.sources...)
			if a.target != "self" {
				types = append(types, a.target)
			}
		}
	}
	slices.Sort(types)
	// The distribution's setools is a module of the distribution's Python.
	text, err := exec.Command("/usr/bin/python3", append([]string{"rules.py", p.binary}, slices.Compact(types)...)...).Output()
	if err != nil {
		if failed, ok := err.(*exec.ExitError); ok {
			err = fmt.Errorf("%w: %s", err, failed.Stderr)
		}
		return rules{}, fmt.Errorf("cannot read the rules of %s: %w", p.binary, err)
	}
	r := rules{allowed: map[string]string{}, entered: map[string]string{}, booleans: map[string]string{}}
	for line := range strings.Lines(string(text)) {
		fields := strings.SplitN(strings.TrimSpace(line), " ", 6)
		switch {
		case fields[0] == "allow" && len(fields) == 5:
			r.allowed[strings.Join(fields[1:5], " ")] = ""
		case fields[0] == "allow":
			key := strings.Join(fields[1:5], " ")
			if condition, ok := r.allowed[key]; !ok || condition != "" {
				r.allowed[key] = fields[5]
			}
		case fields[0] == "enter":
			r.entered[fields[1]+" "+fields[2]] = fields[3]
		case fields[0] == "permissive":
			r.permissive = append(r.permissive, fields[1])
		case fields[0] == "boolean":
			r.booleans[fields[1]] = fields[2]
		}
	}
	return r, nil
})

func needRules(t *testing.T) rules {
	t.Helper()
	needPolicy(t)
	r, err := readRules()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestThePolicyAllowsWhatIsNeededAndNoMore(t *testing.T) {
	r := needRules(t)
	for name, all := range accesses {
		t.Run(name, func(t *testing.T) {
			for _, a := range all {
				for _, source := range a.sources {
					r.check(t, a, source)
				}
			}
		})
	}
}

// check reports differences from a.
func (r rules) check(t *testing.T, a access, source string) {
	t.Helper()
	target := a.target
	if target == "self" {
		target = source
	}
	of := func(permission string) (string, bool) {
		condition, ok := r.allowed[strings.Join([]string{source, target, a.class, permission}, " ")]
		return condition, ok
	}
	for permission := range strings.FieldsSeq(a.may) {
		if condition, ok := of(permission); !ok || condition != "" {
			t.Errorf("%s may not %s %s:%s (%s)", source, permission, target, a.class, condition)
		}
	}
	for permission := range strings.FieldsSeq(a.mayNot) {
		if condition, ok := of(permission); ok {
			t.Errorf("%s may %s %s:%s (%s)", source, permission, target, a.class, condition)
		}
	}
}

func TestOnlyTheBooleanGivesAServiceACapability(t *testing.T) {
	r := needRules(t)
	const boolean = "crypto_auditing_agent_perf_events"
	if state := r.booleans[boolean]; state != "False" {
		t.Errorf("the boolean %s is %q by default", boolean, state)
	}
	want := map[string]string{
		"crau_agent_t crau_agent_t capability lease":     "",
		"crau_agent_t crau_agent_t capability sys_admin": boolean + "=True",
		"crau_agent_t crau_agent_t capability2 bpf":      "",
		"crau_agent_t crau_agent_t capability2 perfmon":  "",
		// The opener only runs if its socket is enabled.
		"crau_opener_t crau_opener_t capability sys_ptrace": "",
	}
	for rule, condition := range r.allowed {
		fields := strings.Fields(rule)
		if !slices.Contains(services, fields[0]) || !strings.HasPrefix(fields[2], "cap") {
			continue
		}
		if wanted, ok := want[rule]; !ok || wanted != condition {
			t.Errorf("%s is allowed (%s)", rule, condition)
		}
		delete(want, rule)
	}
	for rule := range want {
		t.Errorf("%s is not allowed", rule)
	}
	for _, permission := range []string{"open", "cpu", "kernel", "read", "write"} {
		rule := "crau_agent_t crau_agent_t perf_event " + permission
		if condition, ok := r.allowed[rule]; !ok || condition != boolean+"=True" {
			t.Errorf("the boolean does not control %s (%s)", rule, condition)
		}
	}
}

func TestTheServiceManagerEntersTheDomainsAndUsersDoNot(t *testing.T) {
	r := needRules(t)
	for file, domain := range map[string]string{
		"crau_agent_exec_t": "crau_agent_t", "crau_broker_exec_t": "crau_broker_t", "crau_inventory_exec_t": "crau_inventory_t", "crau_opener_exec_t": "crau_opener_t", "crauctl_exec_t": "crauctl_t",
	} {
		if got := r.entered["init_t "+file]; got != domain {
			t.Errorf("init_t runs %s as %q, want %s", file, got, domain)
		}
		for _, user := range []string{"user_t", "staff_t", "sysadm_t", "unconfined_t"} {
			if got := r.entered[user+" "+file]; got != "" {
				t.Errorf("%s runs %s as %s", user, file, got)
			}
		}
	}
}

func TestNoDomainIsPermissive(t *testing.T) {
	for _, domain := range needRules(t).permissive {
		if strings.HasPrefix(domain, "crau") || strings.HasPrefix(domain, "client_") {
			t.Errorf("%s is permissive", domain)
		}
	}
}

func TestEveryInterfaceIsChecked(t *testing.T) {
	names, err := interfaces()
	if err != nil {
		t.Fatal(err)
	}
	if len(names) == 0 {
		t.Fatal("found no interface")
	}
	for _, name := range names {
		checked := false
		for _, all := range accesses {
			for _, a := range all {
				checked = checked || a.may != "" && slices.Contains(a.sources, "client_"+name+"_t")
			}
		}
		if !checked {
			t.Errorf("no access of crypto_auditing_%s is checked", name)
		}
	}
}
