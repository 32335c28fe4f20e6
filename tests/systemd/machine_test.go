// SPDX-License-Identifier: Apache-2.0

package systemd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// opt is where the publishers are on the machine. It is not below /tmp, which
// services do not share.
const opt = "/opt/publishers"

// machine is a booted machine.
type machine struct {
	init    *exec.Cmd // its process 1
	console *bytes.Buffer
	cgroup  string
}

// boot boots a machine with what is below the stages on it.
func boot(script, folder string, stages ...string) (*machine, error) {
	if err := os.Mkdir(folder, 0o755); err != nil {
		return nil, err
	}
	hierarchy, err := unifiedHierarchy()
	if err != nil {
		return nil, err
	}
	m := &machine{console: &bytes.Buffer{}, cgroup: filepath.Join(hierarchy, fmt.Sprintf("crau-systemd-%d", os.Getpid()))}
	if err := os.Mkdir(m.cgroup, 0o755); err != nil {
		return nil, err
	}
	cgroup, err := os.Open(m.cgroup)
	if err != nil {
		return nil, err
	}
	defer cgroup.Close()
	m.init = exec.Command(script, append([]string{folder}, stages...)...)
	m.init.Stdout, m.init.Stderr = m.console, m.console
	m.init.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC | syscall.CLONE_NEWNET,
		Setsid:      true,
		Pdeathsig:   syscall.SIGKILL,
		UseCgroupFD: true, CgroupFD: int(cgroup.Fd()),
	}
	if err := m.init.Start(); err != nil {
		return nil, fmt.Errorf("cannot start a machine: %w", err)
	}
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if !m.running() || time.Now().After(end) {
			m.powerOff()
			return nil, fmt.Errorf("the machine does not boot:\n%s", m.console)
		}
		state, _ := m.command("systemctl", "is-system-running").Output()
		if s := strings.TrimSpace(string(state)); s == "running" || s == "degraded" {
			return m, nil
		}
	}
}

// unifiedHierarchy returns where cgroup2 is mounted.
func unifiedHierarchy() (string, error) {
	for _, dir := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		if _, err := os.Stat(filepath.Join(dir, "cgroup.procs")); err == nil {
			if _, err := os.Stat(filepath.Join(dir, "cgroup.controllers")); err == nil {
				return dir, nil
			}
		}
	}
	return "", errors.New("cgroup2 is not mounted")
}

// running reports whether the machine's process 1 is there.
func (m *machine) running() bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", m.init.Process.Pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

// powerOff ends the machine and everything on it.
func (m *machine) powerOff() {
	// The kernel kills the rest of a PID namespace with its process 1.
	_ = m.init.Process.Kill()
	_ = m.init.Wait()
	var groups []string
	_ = filepath.WalkDir(m.cgroup, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			groups = append(groups, path)
		}
		return nil
	})
	for i := len(groups) - 1; i >= 0; i-- {
		_ = os.Remove(groups[i])
	}
}

// command returns a command that runs on the machine, as root.
func (m *machine) command(arguments ...string) *exec.Cmd {
	return m.commandContext(context.Background(), arguments...)
}

func (m *machine) commandContext(ctx context.Context, arguments ...string) *exec.Cmd {
	enter := []string{
		"-t", strconv.Itoa(m.init.Process.Pid), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd",
		"env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8", "SYSTEMD_PAGER=", "TERM=dumb",
	}
	return exec.CommandContext(ctx, "nsenter", append(enter, arguments...)...)
}

// path returns where the host sees a file of the machine.
func (m *machine) path(name string) string {
	return filepath.Join(fmt.Sprintf("/proc/%d/root", m.init.Process.Pid), name)
}

// run runs a command on the machine and returns what it prints. It must
// succeed.
func (m *machine) run(t *testing.T, arguments ...string) string {
	t.Helper()
	output, err := m.try(t, arguments...)
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(arguments, " "), err, output)
	}
	return output
}

// try is run for a command that may fail.
func (m *machine) try(t *testing.T, arguments ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	output, err := m.commandContext(ctx, arguments...).CombinedOutput()
	return string(output), err
}

// write writes a file of the machine.
func (m *machine) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(m.path(name)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(m.path(name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// property returns a property of a unit.
func (m *machine) property(t *testing.T, unit, name string) string {
	t.Helper()
	return strings.TrimSpace(m.run(t, "systemctl", "show", "--value", "-p", name, unit))
}

// waitFor waits until a condition holds.
func waitFor(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !condition(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %v in vain for %s", patience, what)
		}
	}
}
