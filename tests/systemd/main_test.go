// SPDX-License-Identifier: Apache-2.0

// Package systemd tests the services in a real systemd: the machine's own, as
// process 1 of a throw-away machine in namespaces, with the project installed
// by meson. Kernel and probes are the host's, so what a program fires inside is
// what the agent inside records.
package systemd

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

// patience bounds everything that a test waits for. Nothing is expected to
// take nearly as long.
const patience = 30 * time.Second

// the is the machine of all tests. It is set once, before the tests run.
var the struct {
	machine *machine
	// missing says why there is none here; err why there is none although
	// there could be.
	missing string
	err     error
}

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	// The machine is killed when this thread ends, whatever ends the tests.
	runtime.LockOSThread()
	if the.missing = missing(); the.missing == "" {
		folder, err := os.MkdirTemp("", "crau-systemd-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(folder)
		the.err = setUp(folder)
		if the.machine != nil {
			defer the.machine.powerOff()
		}
	}
	return m.Run()
}

// missing says what keeps tests from being run here, "" if nothing.
func missing() string {
	if os.Geteuid() != 0 {
		return "only root can boot a machine in namespaces"
	}
	if !mayMount() {
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

// mayMount reports whether this process has CAP_SYS_ADMIN.
func mayMount() bool {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(status)) {
		if mask, ok := strings.CutPrefix(line, "CapEff:"); ok {
			bits, err := strconv.ParseUint(strings.TrimSpace(mask), 16, 64)
			return err == nil && bits>>capSysAdmin&1 == 1
		}
	}
	return false
}

// setUp builds, installs and boots.
func setUp(folder string) error {
	root, err := filepath.Abs("../..")
	if err != nil {
		return err
	}
	build, stage, publishers := filepath.Join(folder, "build"), filepath.Join(folder, "stage"), filepath.Join(folder, "publishers")
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	for _, arguments := range [][]string{
		{"meson", "setup", "--prefix=/usr", build, root},
		{"meson", "install", "-C", build, "--destdir", stage},
		{"make", "-C", filepath.Join(root, "tests/publishers"), "OUT=" + filepath.Join(publishers, opt)},
	} {
		if output, err := exec.CommandContext(ctx, arguments[0], arguments[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("cannot %v: %w\n%s", arguments, err, output)
		}
	}
	traces := filepath.Join(publishers, opt, "traces")
	if err := os.CopyFS(traces, os.DirFS(filepath.Join(root, "tests/data/probe-traces"))); err != nil {
		return err
	}
	the.machine, err = boot(filepath.Join(root, "tests/systemd/boot.sh"), filepath.Join(folder, "machine"), stage, publishers)
	return err
}

// needMachine returns the machine. It ends the test where there is none: as
// skipped where there cannot be one, else as failed.
func needMachine(t *testing.T) *machine {
	t.Helper()
	if the.missing != "" {
		t.Skip(the.missing)
	}
	if the.err != nil {
		t.Fatal(the.err)
	}
	return the.machine
}
