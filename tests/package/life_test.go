// SPDX-License-Identifier: Apache-2.0

package packaging

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// machine is this machine with a separate root file system: changes are in memory, and
// are discarded when the thread that created it ends.
type machine struct {
	path string // its root directory
	// changed is the directory of files that differ from this machine.
	changed string
}

// newMachine creates a machine without files of this project. It locks the calling
// goroutine to its thread, which has the mounts.
func newMachine(t *testing.T) machine {
	t.Helper()
	runtime.LockOSThread() // never unlocked: the thread and its mounts end with the test
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		t.Fatalf("cannot create a mount namespace: %v", err)
	}
	directory := t.TempDir()
	script, err := filepath.Abs("../machine/root.sh")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mustRun(t, "/", "umount", "--recursive", filepath.Join(directory, "memory")) })
	mustRun(t, directory, "sh", "-euc", `. "$0"
		mkdir memory
		overlay "$PWD/memory"
		mount --bind /dev "$root/dev"
		cd "$root"
		# An empty database, and no files that were installed by hand.
		rm -rf var/lib/rpm
		find ./usr ./etc ./var/lib ./var/log \
			'(' -name '*crypto[-_]auditing*' -o -name '*cryptoauditing*' -o -path '*/usr/*bin/crau*' -o -name '*crauctl*' -o -path '*/include/crau' ')' \
			-prune -exec rm -rf {} +
		sed -i /crypto-auditing/d etc/passwd etc/group etc/shadow etc/gshadow`, script)
	return machine{filepath.Join(directory, "memory/root"), filepath.Join(directory, "memory/upper")}
}

// run runs a program on the machine.
func (m machine) run(t *testing.T, arguments ...string) string {
	t.Helper()
	return mustRun(t, "/", append([]string{"chroot", m.path}, arguments...)...)
}

// rpm runs rpm. It also fails if a scriptlet fails, which is only a warning of RPM.
func (m machine) rpm(t *testing.T, arguments ...string) string {
	t.Helper()
	output := mustRun(t, "/", append([]string{"rpm", "--root", m.path}, arguments...)...)
	if strings.Contains(output, "scriptlet failed") || strings.Contains(output, "error:") {
		t.Errorf("rpm %s printed:\n%s", arguments[0], output)
	}
	return output
}

// write creates a file, like an administrator or a service.
func (m machine) write(t *testing.T, path, text string) {
	t.Helper()
	path = filepath.Join(m.path, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (m machine) exists(path string) bool {
	_, err := os.Lstat(filepath.Join(m.path, path))
	return err == nil
}

// ours returns the files of this project, except the database of RPM and the users.
func (m machine) ours(t *testing.T) (paths []string) {
	t.Helper()
	err := filepath.WalkDir(m.changed, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		path = strings.TrimPrefix(path, m.changed)
		switch {
		case path == "/var/lib/rpm", path == "/tmp", path == "/var/tmp", path == "/var/log/journal":
			return fs.SkipDir
		case entry.Type()&fs.ModeDevice != 0: // a whiteout of the overlay: a deleted file
		case regexp.MustCompile(`crypto[-_]?auditing|/crau|/_crau`).MatchString(path):
			paths = append(paths, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// units are the units that the administrator's guide enables.
var units = []string{
	"crypto-auditing-agent.service", "crypto-auditing-agent.socket", "crypto-auditing-broker.socket", "crypto-auditing-inventory.timer",
	"crypto-auditing-truncate.timer",
}

// enabled are the links by which units are enabled.
var enabled = []string{
	"/etc/systemd/system/multi-user.target.wants/crypto-auditing-agent.service",
	"/etc/systemd/system/sockets.target.wants/crypto-auditing-agent.socket",
	"/etc/systemd/system/sockets.target.wants/crypto-auditing-broker.socket",
	"/etc/systemd/system/timers.target.wants/crypto-auditing-inventory.timer",
	"/etc/systemd/system/timers.target.wants/crypto-auditing-truncate.timer",
}

func TestPackagesAreInstalledUpgradedAndRemoved(t *testing.T) {
	need(t, "systemctl", "systemd-sysusers", "systemd-tmpfiles", "chroot", "mount")
	built := rpms(t)
	m := newMachine(t)
	if left := m.ours(t); len(left) > 0 {
		t.Fatalf("the new machine already has %v", left)
	}

	// Like distributions with RPM.
	m.write(t, "/usr/lib/systemd/system-preset/99-default-disable.preset", "disable *\n")

	// RPM 4.19 and newer creates the users of sysusers.d before it unpacks a package.
	users, err := filepath.Abs(filepath.Join(root, "systemd/crypto-auditing.sysusers.conf"))
	if err != nil {
		t.Fatal(err)
	}
	mustRun(t, "/", "systemd-sysusers", "--root="+m.path, users)

	m.rpm(t, append([]string{"-i", "--nodeps"}, built.binary...)...)
	names := strings.Fields(m.rpm(t, "-qa", "--qf", `%{NAME}\n`))
	if len(names) != len(built.binary) {
		t.Fatalf("the installed packages are %v, want %d", names, len(built.binary))
	}
	if output := m.rpm(t, append([]string{"-V", "--nodeps"}, names...)...); output != "" {
		t.Errorf("the installed files differ from the packages:\n%s", output)
	}
	for _, link := range enabled {
		if m.exists(link) {
			t.Errorf("%s exists, but the distribution's preset disables services", link)
		}
	}
	m.run(t, append([]string{"systemctl", "enable", "--quiet"}, units...)...)
	for _, link := range enabled {
		if !m.exists(link) {
			t.Errorf("%s is missing after the unit was enabled", link)
		}
	}
	for _, program := range []string{"crau-agent", "crau-broker", "crau-inventory", "crau-opener", "crauctl"} {
		if got := m.run(t, program, "--version"); !strings.Contains(got, version(t)) {
			t.Errorf("the version of %s is %q", program, got)
		}
	}
	m.run(t, "crau-agent", "--check")
	m.run(t, "crau-broker", "--check")
	m.run(t, "crau-inventory", "--check")
	m.run(t, "systemd-tmpfiles", "--create", "crypto-auditing.conf")

	// Configuration, log and state, as on a machine in use.
	m.write(t, "/etc/crypto-auditing/agent.conf", "rate_limit = 1000\n")
	m.write(t, "/etc/crypto-auditing/agent.conf.d/own.conf", "max_age = \"1h\"\n")
	// The service manager creates the directory when the agent starts.
	m.run(t, "install", "-d", "-o", "crypto-auditing", "-g", "crypto-auditing", "-m", "0750", "/var/log/crypto-auditing")
	m.write(t, "/var/log/crypto-auditing/audit-0000000000000001.cborseq.zst", "evidence")
	m.write(t, "/var/lib/crypto-auditing/subscriptions", "positions")
	m.write(t, "/var/lib/crypto-auditing-inventory/inventory.db", "counts")
	m.run(t, "systemctl", "disable", "--quiet", "crypto-auditing-truncate.timer")

	m.rpm(t, append([]string{"-U", "--nodeps"}, built.next...)...)
	if got, want := m.rpm(t, "-qa", "--qf", `%{RELEASE} `), strings.Repeat("1.next ", len(names)); got != want {
		t.Errorf("the releases after the upgrade are %q, want %q", got, want)
	}
	if text, err := os.ReadFile(filepath.Join(m.path, "/etc/crypto-auditing/agent.conf")); err != nil || string(text) != "rate_limit = 1000\n" {
		t.Errorf("the configuration after the upgrade is %q, %v", text, err)
	}
	for i, link := range enabled {
		if timer := i == len(enabled)-1; m.exists(link) == timer {
			t.Errorf("the upgrade has enabled or disabled a unit: %s", link)
		}
	}
	m.run(t, "crau-agent", "--check")

	// The log, the counts and the administrator's files remain. Versions of RPM differ in
	// whether they rename a file that the package lists.
	m.rpm(t, append([]string{"-e"}, names...)...)
	left := m.ours(t)
	for i := range left {
		left[i] = strings.TrimSuffix(left[i], ".rpmsave")
	}
	want := []string{
		"/etc/crypto-auditing",
		"/etc/crypto-auditing/agent.conf",
		"/etc/crypto-auditing/agent.conf.d",
		"/etc/crypto-auditing/agent.conf.d/own.conf",
		"/var/lib/crypto-auditing-inventory",
		"/var/lib/crypto-auditing-inventory/inventory.db",
		"/var/log/crypto-auditing",
		"/var/log/crypto-auditing/audit-0000000000000001.cborseq.zst",
	}
	slices.Sort(left)
	if !slices.Equal(left, want) {
		t.Errorf("after the removal these files remain:\n%s\nwant:\n%s", strings.Join(left, "\n"), strings.Join(want, "\n"))
	}
}
