// SPDX-License-Identifier: Apache-2.0

// Package machine boots disposable machines for tests: the host's systemd is process 1 in
// namespaces, with an overlay of / as its root. The kernel and its probes are shared with
// the host: an agent on a machine records the probes that fire there.
//
// Its relative paths are for tests in a directory of tests/.
package machine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Patience is the timeout of all waits in tests. It is much longer than any wait should
// take.
const Patience = 90 * time.Second

// Opt is the directory of the publishers on a machine. It is not below /tmp because
// services have a private /tmp.
const Opt = "/opt/publishers"

// Root is the directory of the sources.
const Root = "../.."

// Missing returns the reason why machines cannot boot here, "" if they can.
func Missing() string {
	if os.Geteuid() != 0 {
		return "only root can boot a machine in namespaces"
	}
	if !Capable(CapSysAdmin) {
		return "this root lacks the capability CAP_SYS_ADMIN to boot a machine in namespaces"
	}
	if _, err := exec.LookPath("systemctl"); err != nil {
		return "systemd is not installed"
	}
	if _, err := os.Stat("/sys/kernel/btf/vmlinux"); err != nil {
		return fmt.Sprintf("the kernel has no BTF: %v", err)
	}
	return ""
}

// Install builds the project in directory and installs it below directory/stage.
func Install(ctx context.Context, directory string) (stage string, err error) {
	root, err := filepath.Abs(Root)
	if err != nil {
		return "", err
	}
	build, stage := filepath.Join(directory, "build"), filepath.Join(directory, "stage")
	if err := command(ctx, "meson", "setup", "--prefix=/usr", build, root); err != nil {
		return "", err
	}
	return stage, command(ctx, "meson", "install", "-C", build, "--destdir", stage)
}

// Publishers builds the publishers, and returns a stage below directory that has them and
// the traces they replay at Opt.
func Publishers(ctx context.Context, directory string) (stage string, err error) {
	stage = filepath.Join(directory, "publishers")
	if err := command(ctx, "make", "-C", filepath.Join(Root, "tests/publishers"), "OUT="+filepath.Join(stage, Opt)); err != nil {
		return "", err
	}
	return stage, os.CopyFS(filepath.Join(stage, Opt, "traces"), os.DirFS(filepath.Join(Root, "tests/data/probe-traces")))
}

func command(ctx context.Context, arguments ...string) error {
	if output, err := exec.CommandContext(ctx, arguments[0], arguments[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("cannot %v: %w\n%s", arguments, err, output)
	}
	return nil
}

// Machine is a booted machine.
type Machine struct {
	*Space
	cgroup string
}

// Boot boots a machine with the files of the stages; directory must not exist yet. The
// machine is killed when the calling thread ends: lock the thread (runtime.LockOSThread).
func Boot(directory string, stages ...string) (*Machine, error) {
	if err := os.Mkdir(directory, 0o755); err != nil {
		return nil, err
	}
	hierarchy, err := unifiedHierarchy()
	if err != nil {
		return nil, err
	}
	m := &Machine{cgroup: filepath.Join(hierarchy, fmt.Sprintf("crau-systemd-%d", os.Getpid()))}
	if err := os.Mkdir(m.cgroup, 0o755); err != nil {
		return nil, err
	}
	cgroup, err := os.Open(m.cgroup)
	if err != nil {
		return nil, err
	}
	defer cgroup.Close()
	m.Space, err = start("boot.sh", syscall.CLONE_NEWUTS|syscall.CLONE_NEWNET, []string{"--uts", "--net", "--cgroup"}, directory, stages,
		func(a *syscall.SysProcAttr) { a.UseCgroupFD, a.CgroupFD = true, int(cgroup.Fd()) })
	if err != nil {
		return nil, err
	}
	for end := time.Now().Add(Patience); ; time.Sleep(20 * time.Millisecond) {
		if !m.running() || time.Now().After(end) {
			m.PowerOff()
			return nil, fmt.Errorf("the machine did not boot:\n%s", m.Console)
		}
		state, _ := m.Command("systemctl", "is-system-running").Output()
		if s := strings.TrimSpace(string(state)); s == "running" || s == "degraded" {
			return m, nil
		}
	}
}

// unifiedHierarchy returns the mount point of cgroup2.
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

// running reports whether the machine's process 1 is running.
func (m *Machine) running() bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", m.init.Process.Pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

// PowerOff ends the machine and everything on it.
func (m *Machine) PowerOff() {
	m.End()
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

// Command returns a command that runs on the machine as root.
func (m *Machine) Command(arguments ...string) *exec.Cmd {
	return m.CommandContext(context.Background(), arguments...)
}

// Run runs a command on the machine and returns its output. If the command fails, the test
// fails.
func (m *Machine) Run(t *testing.T, arguments ...string) string {
	t.Helper()
	output, err := m.Try(arguments...)
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(arguments, " "), err, output)
	}
	return output
}

// Try is Run for a command that may fail.
func (m *Machine) Try(arguments ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	output, err := m.CommandContext(ctx, arguments...).CombinedOutput()
	return string(output), err
}

// Write writes a file of the machine.
func (m *Machine) Write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(m.Path(name)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(m.Path(name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// WaitFor waits until a condition is true. awaited names it in the error message.
func WaitFor(t *testing.T, awaited string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(Patience); !condition(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("timed out after %v waiting for %s", Patience, awaited)
		}
	}
}
