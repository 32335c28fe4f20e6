// SPDX-License-Identifier: Apache-2.0

package systemd

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	throwaway "crypto-auditing/tests/machine"
)

// dropIn adds text to a unit until the test ends.
func (m *machine) dropIn(t *testing.T, unit, text string) {
	t.Helper()
	directory := "/run/systemd/system/" + unit + ".d"
	m.write(t, directory+"/hardening.conf", text)
	m.run(t, "systemctl", "daemon-reload")
	t.Cleanup(func() {
		if err := os.RemoveAll(m.path(directory)); err != nil {
			t.Error(err)
		}
		m.run(t, "systemctl", "daemon-reload")
	})
}

// perfEvents returns the drop-in for old kernels, with their profile.
func (m *machine) perfEvents(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(m.path("/usr/share/crypto-auditing/perf-event.conf"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text) + "ExecStart=\nExecStart=/usr/bin/crau-agent --profile perf_event\n"
}

// deadly makes a filter kill the service instead of returning EPERM.
const deadly = "[Service]\nSystemCallErrorNumber=\n"

// asksForUprobe reports whether the agent tries a system call that this kernel lacks.
// Kernels that have it exempt it from all filters.
func asksForUprobe() bool {
	const uprobe = 336
	_, _, errno := unix.RawSyscall(uprobe, 0, 0, 0)
	return runtime.GOARCH == "amd64" && errno == unix.ENOSYS
}

func TestServicesMakeNoDeniedSystemCalls(t *testing.T) {
	for name, c := range map[string]struct {
		settings   string
		perfEvents bool
	}{
		"log by io_uring":       {},
		"log by pwrite":         {settings: "SystemCallFilter=~io_uring_setup:EPERM\n"},
		"probes by perf events": {perfEvents: true},
	} {
		t.Run(name, func(t *testing.T) {
			m := needMachine(t)
			settings := deadly + c.settings
			if asksForUprobe() {
				settings = "[Service]\n" + c.settings
			}
			if c.perfEvents {
				settings += m.perfEvents(t)
			}
			watched := opt + "/watched.so"
			copyFile(t, m.path(library), m.path(watched))
			a := installed(t, libraries(library, watched)+"sync_interval = \"100ms\"\n", settings)
			a.write(t, "/etc/crypto-auditing/broker.conf", "[truncate]\nmax_size = \"1B\"\nkeep_free = 0\n")
			a.run(t, "systemctl", "stop", brokerService, inventoryService)
			a.dropIn(t, brokerService, deadly)
			a.dropIn(t, inventoryService, deadly)
			a.dropIn(t, truncateService, deadly)
			a.run(t, "systemctl", "start", service)

			// After a kill the agent finds a damaged end of the log, and no probes.
			a.replay(t, library, 10)
			process := a.pid(t)
			a.run(t, "kill", "-KILL", process)
			waitFor(t, "a restart of the agent", func() bool { return a.pid(t) != process && a.active(t) })

			monitor := a.command("timeout", "20", "crauctl", "monitor")
			var shown bytes.Buffer
			monitor.Stdout = &shown
			if err := monitor.Start(); err != nil {
				t.Fatal(err)
			}
			fired := a.exercise(t, watched)
			a.run(t, "kill", "-INT", strings.TrimSpace(a.run(t, "pgrep", "-x", "-f", "crauctl monitor")))
			_ = monitor.Wait() // it was interrupted
			if !strings.Contains(shown.String(), "tls::handshake") {
				t.Errorf("crauctl monitor shows no handshake:\n%s", shown.String())
			}
			if n := a.restarts(t); n != "1" {
				t.Errorf("the agent was restarted %s times, not once", n)
			}
			// Inventory and broker would start the agent again.
			a.endInventory(t)
			if recorded, lost := a.stop(t); recorded != fired || lost != 0 {
				t.Errorf("recorded %d of %d hits, lost %d", recorded, fired, lost)
			}
			for _, unit := range []string{brokerService, inventoryService, truncateService, service} {
				a.checkNoComplaints(t, unit, "Nothing was recorded for a time") // after the kill
			}
			if printed := strings.Join(a.journalOf(t, brokerService, inventoryService, truncateService, service), "\n"); strings.Contains(printed, "SYS") {
				t.Errorf("a service was killed for a system call:\n%s", printed)
			}
		})
	}
}

// exercise makes the services use all their features, and returns the number of fired
// hits.
func (a *agent) exercise(t *testing.T, watched string) (fired int) {
	t.Helper()
	for range 3 {
		fired += a.replay(t, library, 200)
		a.run(t, "crauctl", "rotate")
	}
	// A library is replaced; programs continue with the old file.
	copyFile(t, a.path(library), a.path(watched+".new"))
	if err := os.Rename(a.path(watched+".new"), a.path(watched)); err != nil {
		t.Fatal(err)
	}
	a.run(t, "systemctl", "reload", service)
	fired += a.replay(t, watched, 10)
	for _, command := range [][]string{
		{"crauctl", "flush"},
		{"crauctl", "status"},
		{"crauctl", "query"},
		{"crauctl", "subscriptions"},
		{"busctl", "call", "org.crypto_auditing.Broker", "/org/crypto_auditing/Broker", "org.crypto_auditing.Broker", "Read", "sa{sv}u", "oldest", "0", "100"},
		{"python3", "-c", caller, "/run/crypto-auditing/org.cryptoauditing.Broker", "org.cryptoauditing.Broker.GetStatus"},
		{"python3", "-c", caller, socketPath, "org.cryptoauditing.Agent.Reload"},
		{"crauctl", "vacuum", "--force"},
		{"crauctl", "rotate"},
		{"systemctl", "start", truncateService},
	} {
		a.run(t, command...)
	}
	for _, call := range [][]string{
		append([]string{"Summarize"}, summary...), {"ListPolicies"}, {"Report", "a{sv}", "0"}, {"Export", "sa{sv}", "report-html", "0"},
		{"Export", "sa{sv}", "cbom-1.6", "0"}, {"List", "a{sv}su", "0", "", "10"},
	} {
		if output, err := a.inventory(t, asRoot, call[0], call[1:]...); err != nil {
			t.Errorf("the inventory answers %s: %s, %v", call[0], output, err)
		}
	}
	a.subscribe(t)
	// The broker asks polkit, which refuses.
	if output, err := a.bus(t, asStranger, "GetStatus"); err == nil {
		t.Errorf("a stranger gets %s", output)
	}
	return fired + a.replay(t, library, 10)
}

// subscribe makes a durable subscription, which holds unread segments until the test
// ends.
func (a *agent) subscribe(t *testing.T) {
	t.Helper()
	if output, err := a.bus(t, asRoot, "Subscribe", "sa{sv}a{sv}", "durable", "0", "0"); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	t.Cleanup(func() { a.run(t, "crauctl", "subscriptions", "delete", "durable") })
}

func TestSyscallFiltersAndMountsAreEnforced(t *testing.T) {
	m := needMachine(t)
	const program = opt + "/sandboxed"
	build := exec.Command("go", "build", "-o", m.path(program), "./sandboxed")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	directories := []string{logDir, stateDir, inventoryDir, "/tmp", "/dev/shm", "/run/crypto-auditing", "/usr/bin", "/etc"}
	for unit, c := range map[string]struct{ calls, directories []string }{
		service:          {[]string{"fsync", "io_uring_setup", "linkat", "mkdirat", "perf_event_open", "pidfd_open", "setpriority", "unlinkat"}, []string{logDir, "/tmp", "/dev/shm"}},
		brokerService:    {[]string{"fsync", "mkdirat", "pipe2", "unlinkat"}, []string{stateDir, "/tmp", "/dev/shm"}},
		inventoryService: {[]string{"fsync", "mkdirat", "pipe2", "unlinkat"}, []string{inventoryDir, "/tmp", "/dev/shm"}},
		truncateService:  {nil, []string{"/tmp", "/dev/shm"}},
	} {
		t.Run(unit, func(t *testing.T) {
			// The start makes the directories of all services.
			a := installed(t, libraries(library))
			a.run(t, "systemctl", "start", service, brokerService, inventoryService)
			t.Cleanup(func() { a.endInventory(t) })
			instead := "[Service]\nType=oneshot\nRestart=no\nWatchdogSec=0\nExecStart=\nExecStart=" + program + " " + strings.Join(directories, " ") + "\n"
			inside := a.report(t, unit, instead)
			outside := a.report(t, unit, instead+"SystemCallFilter=\nNoExecPaths=\n")
			if inside["socket of AF_INET"] != "EAFNOSUPPORT" {
				t.Errorf("a socket of AF_INET gives %q", inside["socket of AF_INET"])
			}
			for _, directory := range directories {
				within, without := "is not written", "is not written"
				if slices.Contains(c.directories, directory) {
					within, without = "is not executed", "is executed"
				}
				if got := inside["a file in "+directory]; got != within {
					t.Errorf("a file in %s %s", directory, got)
				}
				if got := outside["a file in "+directory]; got != without {
					t.Errorf("without NoExecPaths= a file in %s %s", directory, got)
				}
			}
			calls := 0
			for call, answer := range inside {
				if strings.Contains(call, " ") || call == "end" {
					continue
				}
				calls++
				if may := slices.Contains(c.calls, call); (answer != "EPERM") != may {
					t.Errorf("the system call %s gives %q", call, answer)
				}
				if outside[call] == "EPERM" {
					t.Errorf("the system call %s proves nothing: it gives EPERM without the filter, too", call)
				}
			}
			if calls < 25 {
				t.Errorf("the program reports only %q", inside)
			}
		})
	}
}

// report runs a unit with a drop-in once and returns what its program reports.
func (a *agent) report(t *testing.T, unit, settings string) map[string]string {
	t.Helper()
	// The unit is stopped after its type has changed: a client that activates it by its
	// socket in between must not start the original service, which never exits by itself.
	directory := "/run/systemd/system/" + unit + ".d"
	a.write(t, directory+"/report.conf", settings)
	a.run(t, "systemctl", "daemon-reload")
	a.run(t, "systemctl", "stop", unit)
	defer func() {
		if err := os.RemoveAll(a.path(directory)); err != nil {
			t.Error(err)
		}
		a.run(t, "systemctl", "daemon-reload")
	}()
	a.run(t, "systemctl", "start", unit)
	run := a.property(t, unit, "InvocationID")
	if run == "" {
		t.Fatalf("%s has not run", unit)
	}
	answers := map[string]string{}
	// The journal may lag.
	waitFor(t, "the last answer", func() bool {
		for line := range strings.Lines(a.run(t, "journalctl", "_SYSTEMD_INVOCATION_ID="+run, "-o", "cat")) {
			if name, answer, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ":"); ok {
				answers[name] = strings.TrimSpace(answer)
			}
		}
		_, last := answers["end"]
		return last
	})
	return answers
}

func TestServicesHaveTheConfiguredCredentials(t *testing.T) {
	const none = "0000000000000000"
	for name, c := range map[string]struct {
		unit, user string
		groups     []string
		// capabilities is their mask in the kernel's format.
		capabilities string
		perfEvents   bool
		program      string
		// writable are the writable mounts, in addition to writableAnyway.
		writable []string
	}{
		"agent":                  {service, "crypto-auditing", []string{"crypto-auditing"}, mask(throwaway.CapLease, throwaway.CapBPF, throwaway.CapPerfmon), false, "/usr/bin/crau-agent", []string{logDir}},
		"agent with perf events": {service, "crypto-auditing", []string{"crypto-auditing"}, mask(throwaway.CapLease, throwaway.CapBPF, throwaway.CapPerfmon, throwaway.CapSysAdmin), true, "/usr/bin/crau-agent", []string{logDir}},
		"broker":                 {brokerService, "crypto-auditing-broker", []string{"crypto-auditing", "crypto-auditing-broker"}, none, false, "/usr/bin/crau-broker", []string{stateDir}},
		"inventory":              {inventoryService, "crypto-auditing-inventory", []string{"crypto-auditing", "crypto-auditing-inventory"}, none, false, "/usr/bin/crau-inventory", []string{inventoryDir}},
		"truncation":             {truncateService, "crypto-auditing-broker", []string{"crypto-auditing", "crypto-auditing-broker"}, none, false, "/usr/bin/crauctl", nil},
	} {
		t.Run(name, func(t *testing.T) {
			m := needMachine(t)
			settings := "[Service]\n"
			if c.perfEvents {
				settings = m.perfEvents(t)
			}
			a := installed(t, libraries(library), settings)
			a.run(t, "systemctl", "start", service, brokerService, inventoryService)
			t.Cleanup(func() {
				a.endInventory(t)
				a.run(t, "systemctl", "stop", service)
			})
			if c.unit == truncateService {
				// Truncation runs until the broker, which is stopped, answers.
				broker := a.property(t, brokerService, "MainPID")
				a.run(t, "kill", "-STOP", broker)
				t.Cleanup(func() { a.run(t, "kill", "-CONT", broker) })
				a.run(t, "systemctl", "start", "--no-block", truncateService)
			}
			var process string
			waitFor(t, "the program of the unit", func() bool {
				process = a.property(t, c.unit, "MainPID")
				file, err := os.Readlink(a.path("/proc/" + process + "/exe"))
				return err == nil && file == c.program
			})
			status := a.proc(t, process, "status")
			user := strings.TrimSpace(a.run(t, "id", "-u", c.user))
			group := strings.TrimSpace(a.run(t, "id", "-g", c.user))
			groups := map[string]bool{}
			for _, name := range c.groups {
				groups[strings.Fields(strings.ReplaceAll(a.run(t, "getent", "group", name), ":", " "))[2]] = true
			}
			for _, want := range []string{
				fmt.Sprintf("Uid: %s %[1]s %[1]s %[1]s", user), fmt.Sprintf("Gid: %s %[1]s %[1]s %[1]s", group),
				"CapInh: " + c.capabilities, "CapPrm: " + c.capabilities, "CapEff: " + c.capabilities, "CapBnd: " + c.capabilities, "CapAmb: " + c.capabilities,
				"NoNewPrivs: 1", "Seccomp: 2", // a filter
			} {
				if !slices.Contains(status, want) {
					t.Errorf("/proc/%s/status has no %q:\n%s", process, want, strings.Join(status, "\n"))
				}
			}
			for _, line := range status {
				if ids, ok := strings.CutPrefix(line, "Groups:"); ok && !maps.Equal(groups, set(strings.Fields(ids))) {
					t.Errorf("the groups are %s, want %v", ids, groups)
				}
			}
			for _, line := range a.proc(t, process, "mountinfo") {
				checkMount(t, line, c.writable)
			}
		})
	}
}

// writableAnyway are mounts on which a service can write to files that it owns: its own
// /tmp, its own devices, and those that all processes share.
var writableAnyway = []string{"/tmp", "/var/tmp", "/proc", "/dev/hugepages", "/dev/mqueue", "/dev/pts", "/dev/shm"}

// checkMount checks a line of /proc/PID/mountinfo (proc_pid_mountinfo(5)).
func checkMount(t *testing.T, line string, writable []string) {
	t.Helper()
	fields := strings.Fields(line)
	path, options := fields[4], strings.Split(fields[5], ",")
	if slices.Contains(options, "ro") == slices.Contains(slices.Concat(writable, writableAnyway), path) {
		t.Errorf("%s is mounted with %s", path, options)
	}
	if !slices.Contains(options, "ro") && !slices.Contains(options, "noexec") {
		t.Errorf("files written to %s can be executed", path)
	}
	if !slices.Contains(options, "nosuid") {
		t.Errorf("files in %s may raise privileges", path)
	}
}

// proc returns the lines of a file below /proc/PID, with single blanks.
func (m *machine) proc(t *testing.T, process, name string) (lines []string) {
	t.Helper()
	text, err := os.ReadFile(m.path(filepath.Join("/proc", process, name)))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	return lines
}

func set(names []string) map[string]bool {
	s := map[string]bool{}
	for _, name := range names {
		s[name] = true
	}
	return s
}
